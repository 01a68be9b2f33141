import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.stats.bayes.best import best
from streams.stats.bayes.credible import equal_tailed
from streams.stats.direction import Direction
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.mirrored import mirrored, oriented
from streams.stats.posteriors.normal import NormalPosterior

FAMILIES = [
    BetaPosterior.observed([3, 9, 4], [97, 91, 66]),
    GammaPosterior.observed([3, 9, 4], [100, 100, 70]),
    NormalPosterior.observed([100, 100, 70], [30, 90, -40], [50, 80, 90]),
]


@pytest.mark.parametrize("posteriors", FAMILIES)
def test_direction_flipped_twice_is_the_very_same(posteriors):
    assert mirrored(mirrored(posteriors)) is posteriors


@pytest.mark.parametrize("posteriors", FAMILIES)
def test_increase_changes_nothing(posteriors):
    assert oriented(posteriors, Direction.INCREASE) is posteriors


@pytest.mark.parametrize("posteriors", FAMILIES)
def test_mirror_turns_every_part_round(posteriors):
    flipped = mirrored(posteriors)
    points = np.linspace(-3.0, -0.5, 7)

    assert np.array_equal(flipped.means, -posteriors.means)
    assert np.array_equal(flipped.density(-points), posteriors.density(points))
    assert np.array_equal(flipped.values(-points), -posteriors.values(points))
    assert flipped.coordinates(flipped.values(points)) == pytest.approx(points)
    lower, upper = equal_tailed(posteriors)
    flipped_lower, flipped_upper = equal_tailed(flipped)
    assert flipped_lower == pytest.approx(-upper)
    assert flipped_upper == pytest.approx(-lower)
    peaks, widths = posteriors.modes_and_scales()
    assert np.array_equal(flipped.modes_and_scales(), (-peaks, widths))
    mask = np.array([True, False, True])
    assert np.array_equal(flipped.take(mask).means, -posteriors.means[mask])


def test_best_of_two_decreasing_is_the_other_of_two_increasing():
    arms = BetaPosterior.observed([30, 45], [970, 955])

    more, less = best(arms), best(oriented(arms, Direction.DECREASE))

    assert less.probability == pytest.approx(more.probability[::-1], abs=1e-9)
    # E max - m_k of one arm is m_other - E min of the other.
    assert less.expected_loss == pytest.approx(more.expected_loss[::-1], abs=1e-9)


def test_failures_are_successes_that_should_decrease():
    """The smallest failure rate is the largest success rate, with the same losses."""
    successes, failures = [5, 8, 11], [95, 90, 120]

    more = best(BetaPosterior.observed(successes, failures))
    less = best(mirrored(BetaPosterior.observed(failures, successes)))

    assert less.probability == pytest.approx(more.probability, abs=1e-9)
    assert less.expected_loss == pytest.approx(more.expected_loss, abs=1e-9)


values = st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=5)


@given(values)
def test_minus_the_values_should_increase_where_the_values_should_decrease(totals):
    units, deviations = [20] * len(totals), [100.0] * len(totals)
    arms = NormalPosterior.observed(units, totals, deviations)
    negative = NormalPosterior.observed(units, [-total for total in totals], deviations)

    assert best(mirrored(arms)).probability == pytest.approx(best(negative).probability, abs=1e-9)


def test_sign_is_that_of_a_better_change():
    assert (Direction("increase").sign, Direction("decrease").sign) == (1.0, -1.0)
