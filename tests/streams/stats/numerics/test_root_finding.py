import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from streams.stats.numerics.root_finding import solve_increasing

LEVELS = np.array([0.001, 0.025, 0.5, 0.975, 0.999])


@pytest.mark.parametrize(
    "law",
    [
        stats.norm(3, 2),
        stats.expon(),
        stats.t(2.5),
        stats.uniform(-1, 2),
        stats.lognorm(2),
        stats.beta(0.5, 9),
    ],
)
def test_quantiles_are_those_of_scipy(law):
    found = solve_increasing(
        lambda x, _: law.cdf(x), LEVELS, np.full(5, law.median()), np.full(5, law.std())
    )

    assert law.cdf(found) == pytest.approx(LEVELS, abs=1e-6)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_bad_guesses_only_take_longer(mean, deviation, wrong_by, factor):
    def below(x, _=None):
        return special.ndtr((x - mean) / deviation)

    found = solve_increasing(
        below, LEVELS, np.full(5, mean + wrong_by * deviation), np.full(5, deviation * factor)
    )

    assert below(found) == pytest.approx(LEVELS, abs=2e-6)


def test_step_has_its_quantile_at_the_jump():
    found = solve_increasing(
        lambda x, _: np.where(x < 2.0, 0.1, 0.9), np.array([0.5]), np.zeros(1), np.ones(1)
    )

    assert found[0] == pytest.approx(2.0, abs=1e-9)


def test_what_machine_numbers_cannot_distinguish_is_left_at_their_neighbour():
    """Deviations of a millionth about a billion: neighbours are 0.1 deviations apart."""
    found = solve_increasing(
        lambda x, _: special.ndtr((x - 1e9) / 1e-6), LEVELS, np.full(5, 1e9), np.full(5, 1e-6)
    )

    assert found == pytest.approx(np.full(5, 1e9), abs=1e-5)
