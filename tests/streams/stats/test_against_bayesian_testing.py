"""The same data through `bayesian-testing`, which draws where we integrate.

200,000 draws: a probability has a standard error of at most 0.0012, so 0.006 is five of them, and
a mean loss one of at most 0.0025 deviations of the posterior. The seeds are fixed; with another one
a false alarm would have the probability 1e-6 for each number.
"""

from unittest.mock import patch

import numpy as np
import pytest

from streams.stats.bayes.best import best
from streams.stats.direction import Direction
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.mirrored import oriented
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.posteriors.revenue import RevenuePosterior
from streams.stats.sample import Sample

with patch("logging.config.fileConfig"):  # it sets up the log of its whole process
    from bayesian_testing.experiments import (
        BinaryDataTest,
        DeltaNormalDataTest,
        NormalDataTest,
        PoissonDataTest,
    )

N_DRAWS = 200_000
DIRECTIONS = pytest.mark.parametrize("direction", Direction)


def drawn(test, direction):
    is_smallest = direction is Direction.DECREASE
    rows = test.evaluate(sim_count=N_DRAWS, seed=1, min_is_best=is_smallest, interval_alpha=0.95)
    return (
        np.array([row["prob_being_best"] for row in rows]),
        np.array([row["expected_loss"] for row in rows]),
        np.array([row["credible_interval"] for row in rows]),
    )


def assert_agrees(posteriors, test, direction, *, apart=0.006):
    probability, loss, intervals = drawn(test, direction)
    lower, upper = posteriors.quantiles(0.025), posteriors.quantiles(0.975)
    width = float((upper - lower).max())

    result = best(oriented(posteriors, direction))

    assert result.probability == pytest.approx(probability, abs=apart)
    assert result.expected_loss == pytest.approx(loss, abs=apart * width)
    assert np.column_stack((lower, upper)) == pytest.approx(intervals, abs=5 * apart * width)


@DIRECTIONS
def test_binary(direction):
    test = BinaryDataTest()
    counts = [(1_000, 50), (1_200, 75), (900, 40), (30, 0)]
    for index, (units, successes) in enumerate(counts):
        test.add_variant_data_agg(str(index), units, successes, a_prior=1, b_prior=1)
    arms = BetaPosterior.observed([s for _, s in counts], [n - s for n, s in counts])

    assert_agrees(arms, test, direction)


@DIRECTIONS
def test_counts(direction):
    test = PoissonDataTest()
    counts = [(1_000, 3_150), (500, 1_510), (340, 1_060), (3, 12)]
    for index, (units, events) in enumerate(counts):
        test.add_variant_data_agg(str(index), units, events, a_prior=1, b_prior=0.5)
    arms = GammaPosterior.observed(
        [s for _, s in counts], [n for n, _ in counts], prior_events=1, prior_units=0.5
    )

    assert_agrees(arms, test, direction)


@DIRECTIONS
def test_continuous_values(direction):
    """Their prior counts shapes and scales: 1.5 and 7.5 are 3 degrees of a variance of 5."""
    test = NormalDataTest()
    sums = [(100, 1_020, 10_804), (60, 640, 7_200), (25, 290, 3_600), (4, 39, 390)]
    for index, (units, total, squares) in enumerate(sums):
        test.add_variant_data_agg(
            str(index), units, total, squares, m_prior=10, a_prior_ig=1.5, b_prior_ig=7.5, w_prior=1
        )
    arms = NormalPosterior.observed(
        [n for n, _, _ in sums],
        [s for _, s, _ in sums],
        [q - s**2 / n for n, s, q in sums],
        prior=NormalPrior(mean=10.0, variance=5.0, units=1.0, degrees=3.0),
    )

    assert_agrees(arms, test, direction)


@DIRECTIONS
def test_revenue(direction):
    """Theirs is Beta times t; ours has its mean and variance and another shape: 0.015 apart."""
    test = DeltaNormalDataTest()
    sums = [(1_000, 50, 2_500, 150_000), (1_200, 75, 3_600, 210_000), (900, 40, 2_300, 160_000)]
    for index, (units, buyers, total, squares) in enumerate(sums):
        test.add_variant_data_agg(
            str(index),
            units,
            buyers,
            total,
            squares,
            a_prior_beta=1,
            b_prior_beta=1,
            m_prior=50,
            a_prior_ig=1.5,
            b_prior_ig=1_500,
            w_prior=1,
        )
    arms = RevenuePosterior.observed(
        [Sample(n, k, s, 0, q - s**2 / k) for n, k, s, q in sums],
        prior_alpha=1,
        prior_beta=1,
        prior=NormalPrior(mean=50.0, variance=1_000.0, units=1.0, degrees=3.0),
    )

    assert_agrees(arms, test, direction, apart=0.015)
