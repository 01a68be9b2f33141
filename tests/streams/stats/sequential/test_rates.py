import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.rates import rate_sequences

tallies = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "units", "lower", "upper"),
    [
        (0, 10, 0.0, 0.4644887878523605),
        (3, 10, 0.01636955437442395, 0.7882754029237731),
        (55, 1_000, 0.033089662187342134, 0.08268360941960708),
        (4_000, 100_000, 0.037523219603990576, 0.04256453828226768),
    ],
)
def test_ends_agree_with_confseq(successes, units, lower, upper):
    """Printed by `confseq` 0.0.11: bernoulli_confidence_interval(successes, units, .05, 47.5)."""
    ends = rate_sequences([successes], [units], 0.05, planned_units=47.5)

    assert [float(end[0]) for end in ends] == pytest.approx([lower, upper], abs=1e-9)


def test_nothing_is_known_without_units():
    lower, upper = rate_sequences([0, 0], [0, 10], 0.05)

    assert (lower[0], upper[0]) == (0.0, 1.0)
    assert upper[1] < 1.0


@given(tallies, st.floats(1e-9, 0.5))
def test_it_holds_what_was_observed_and_nests_in_alpha(tally, alpha):
    successes, units = tally
    (low,), (high,) = rate_sequences([successes], [units], alpha)
    (lower,), (higher,) = rate_sequences([successes], [units], alpha / 2)

    assert 0.0 <= lower <= low <= successes / units <= high <= higher <= 1.0


@given(tallies)
def test_failures_mirror_successes(tally):
    successes, units = tally
    lower, upper = rate_sequences([successes, units - successes], [units, units], 0.05)

    assert lower[0] == pytest.approx(1.0 - upper[1], abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "units", "alpha", "planned"),
    [(2, 1, 0.05, 10), (-1, 1, 0.05, 10), (1, 1, 0.0, 10), (1, 1, 0.05, 0), (1, 1, 0.05, math.inf)],
)
def test_arguments_outside_their_domain_are_refused(successes, units, alpha, planned):
    with pytest.raises(InvalidParameterError):
        rate_sequences([successes], [units], alpha, planned)


@pytest.mark.statistical
@pytest.mark.parametrize("rate", [0.004, 0.1])
def test_sequence_covers_a_rate_that_a_bandit_follows(rate):
    """150 looks, units given to the variant in proportion to its luck; 2,000 repetitions at 10 %.

    If it missed with a probability of exactly 10 %, more than 260 misses would have probability
    7e-6.
    """
    random = np.random.default_rng(20260404)
    won, seen = np.zeros(2_000), np.zeros(2_000)
    missed = np.zeros(2_000, dtype=bool)
    for _ in range(150):
        lucky = won >= seen * rate
        units = np.where(lucky, 10, 200)  # stop while ahead: what biases a plain mean
        won += random.binomial(units, rate)
        seen += units
        lower, upper = rate_sequences(won, seen, 0.1)
        missed |= (rate < lower) | (rate > upper)

    assert missed.sum() <= 260
