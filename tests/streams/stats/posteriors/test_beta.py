import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from streams.model.errors import InvalidParameterError
from streams.stats.posteriors.beta import BetaPosterior

parameters = st.floats(0.01, 1e9)


def posterior(alpha, beta):
    return BetaPosterior(np.array([alpha], dtype=float), np.array([beta], dtype=float))


def test_uniform_prior_and_three_successes_in_four_units():
    observed = BetaPosterior.observed([3], [1])

    assert observed.alpha.tolist() == [4.0]
    assert observed.beta.tolist() == [2.0]
    assert observed.means.tolist() == [4 / 6]


@given(parameters, parameters)
def test_density_of_the_logit_integrates_to_one_over_its_support(alpha, beta):
    arm = posterior(alpha, beta)
    (low,), (high,) = arm.support()
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    # Graded towards the middle, where the density may be an edge in a long tail.
    cuts = np.unique(
        np.clip(np.concatenate((np.linspace(low, high, 120), np.linspace(-30, 30, 240))), low, high)
    )
    for left, right in itertools.pairwise(cuts):
        points = (left + right) / 2 + (right - left) / 2 * nodes
        total += float((arm.density(points)[0] * weights).sum() * (right - left) / 2)

    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (0.3, 0.7), (3, 40), (200, 10)])
def test_density_is_that_of_beta_after_the_change_of_variable(alpha, beta):
    x = np.array([0.01, 0.2, 0.5, 0.97])

    density = posterior(alpha, beta).density(np.log(x / (1 - x)))[0]

    expected = x**alpha * (1 - x) ** beta / special.beta(alpha, beta)
    assert density == pytest.approx(expected, rel=1e-12)


@given(parameters, parameters)
def test_support_leaves_out_a_negligible_mass(alpha, beta):
    (low,), (high,) = posterior(alpha, beta).support()

    assert low < np.log(alpha / beta) < high
    assert special.betainc(alpha, beta, special.expit(low)) < 1e-9
    assert special.betainc(beta, alpha, special.expit(-high)) < 1e-9


@given(st.floats(-2.0, 12.0), st.floats(-2.0, 12.0))
@example(-2.0, 12.0)
def test_support_ends_where_the_density_is_negligible_and_not_far_beyond(alpha, beta):
    """Panels follow the slope of the density: where it falls without end, so do they."""
    arm = posterior(10.0**alpha, 10.0**beta)
    (low,), (high,) = arm.support()
    (peak,), _ = arm.modes_and_scales()

    heights = np.log(arm.density(np.array([[low, peak, high]])))[0]

    falls = heights[1] - heights[[0, 2]]
    assert falls.min() > 24.0
    assert falls.max() < 40.0


@given(st.floats(0.5, 1e6), st.floats(0.5, 1e6), st.sampled_from([0.025, 0.5, 0.975]))
def test_quantile_inverts_the_distribution_function(alpha, beta, probability):
    (quantile,) = posterior(alpha, beta).quantiles(probability)

    # A probability near 1 is no nearer than the next machine number.
    rounding = np.spacing(quantile) * stats.beta.pdf(quantile, alpha, beta)
    assert special.betainc(alpha, beta, quantile) == pytest.approx(probability, abs=1e-9 + rounding)


def test_mean_is_the_integral_of_the_density():
    arm = posterior(2.5, 0.8)

    mean, _ = integrate.quad(
        lambda y: special.expit(y) * float(arm.density(np.array([y]))[0, 0]), -40, 60, limit=200
    )

    assert mean == pytest.approx(2.5 / 3.3, abs=1e-9)


@pytest.mark.parametrize(
    ("alpha", "beta", "name"),
    [(0, 1, "alpha"), (1, -1, "beta"), (float("nan"), 1, "alpha"), (1, float("inf"), "beta")],
)
def test_parameters_outside_their_domain_are_refused(alpha, beta, name):
    with pytest.raises(InvalidParameterError) as caught:
        posterior(alpha, beta)

    assert caught.value.path == name


@pytest.mark.parametrize(
    ("successes", "failures"), [([-1], [0]), ([0], [-1]), ([float("nan")], [0])]
)
def test_negative_counts_are_refused(successes, failures):
    with pytest.raises(InvalidParameterError):
        BetaPosterior.observed(successes, failures)


def test_coordinates_are_logits_and_infinite_outside():
    arms = BetaPosterior.observed([1], [1])

    assert arms.coordinates(np.array([-0.5, 0.0, 0.5, 1.0, 2.0])).tolist() == [
        -np.inf,
        -np.inf,
        0.0,
        np.inf,
        np.inf,
    ]
