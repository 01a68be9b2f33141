import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.contrasts import (
    PlainSums,
    WeightedSums,
    fixed_contrast,
    inverse_contrast,
    overlap_contrast,
)
from streams.stats.sequential.tails import Moments

counts = st.integers(0, 10_000)


def tilted(values, weights, largest=math.inf, variance=0.0, moments=None):
    x, w = np.array(values, dtype=float), np.array(weights, dtype=float)
    terms = (w**0, w, w * w, w * x, w * w * x, w * w * x * x)
    fields = [term.sum() for term in terms] + [largest, variance]
    return WeightedSums(*(np.array([field]) for field in fields), moments=moments)


def plain(*fields):
    return PlainSums(*(np.array([float(field)]) for field in fields))


def test_contrast_worked_by_hand():
    """Two units of a with weights 1/2 and 1/4, one of b with 3/4."""
    result = overlap_contrast(tilted([1, 1], [0.5, 0.25], 0.5), tilted([1], [0.75], 0.75))

    assert result.fewest[0] == 1
    assert result.time[0] == pytest.approx(4 * (0.25 + 0.0625 + 0.5625))
    assert result.total == pytest.approx(0.0)
    assert result.squares == pytest.approx(0.25 + 0.0625 + 0.5625)
    assert (result.max_decrement[0], result.max_increment[0]) == (0.75, 0.5)
    assert result.scale == pytest.approx(0.75)
    assert result.difference == pytest.approx(0.0)


def test_difference_is_that_of_the_weighted_means():
    random = np.random.default_rng(3)
    values, weights = random.normal(5, 2, (2, 40)), random.uniform(0.1, 1, (2, 40))

    result = overlap_contrast(tilted(values[0], weights[0]), tilted(values[1], weights[1]))

    means = [np.average(x, weights=w) for x, w in zip(values, weights, strict=True)]
    assert result.difference == pytest.approx(means[0] - means[1])
    assert not result.is_bounded


def test_fixed_weights_give_the_difference_of_the_means_and_its_usual_error():
    """220 of 2,000 and 300 of 3,000: the pooled standard error of a z-test, by hand."""
    result = fixed_contrast(plain(2_000, 220, 220, 0.4, 1), plain(3_000, 300, 300, 0.6, 1))

    assert result.difference == pytest.approx(0.11 - 0.10)
    assert result.scale == pytest.approx(5_000 * 0.4 * 0.6)
    assert result.max_decrement == pytest.approx(0.4)
    assert result.max_increment == pytest.approx(0.6)
    unpooled = math.sqrt(0.11 * 0.89 / 2_000 + 0.1 * 0.9 / 3_000)
    assert result.standard_error == pytest.approx(unpooled, rel=0.01)


def test_a_common_level_of_the_values_adds_no_noise():
    random = np.random.default_rng(4)
    values, weights = random.normal(0, 1, (2, 60)), random.uniform(0.1, 1, (2, 60))

    near, far = (
        overlap_contrast(
            tilted(values[0] + level, weights[0]), tilted(values[1] + level, weights[1])
        )
        for level in (0.0, 1_000.0)
    )

    assert far.difference == pytest.approx(near.difference, abs=1e-9)
    assert far.standard_error == pytest.approx(near.standard_error, rel=1e-3)


@given(counts, counts, st.floats(0.01, 0.99))
def test_exchanging_the_variants_reverses_the_contrast(a, b, share):
    first, second = plain(10_000, a, a, share, 1), plain(10_000, b, b, 1 - share, 1)

    forth, back = fixed_contrast(first, second), fixed_contrast(second, first).reversed()

    for field in (
        "total",
        "squares",
        "scale",
        "difference",
        "standard_error",
        "max_decrement",
        "max_increment",
    ):
        assert getattr(forth, field) == pytest.approx(getattr(back, field), abs=1e-9), field


def test_without_units_nothing_is_known():
    empty = tilted([], [])

    result = overlap_contrast(empty, empty)

    assert (result.difference[0], result.standard_error[0]) == (0.0, math.inf)


@pytest.mark.parametrize("share", [0.0, 1.1, math.nan])
def test_share_outside_its_domain_is_refused(share):
    with pytest.raises(InvalidParameterError):
        fixed_contrast(plain(1, 0, 0, share, 1), plain(1, 0, 0, 0.5, 1))


@pytest.mark.statistical
def test_no_drift_of_the_base_rate_biases_the_contrast():
    """Rates rise from 2 % to 20 % while the weights move from one variant to the other.

    The plain difference of the means is then -0.04 on average though the variants are equal. The
    contrast, over 2,000 repetitions, is 0 within 4 standard errors: a false alarm below 1e-4.
    """
    random = np.random.default_rng(5)
    sums, naive = [], []
    for _ in range(2_000):
        total = 0.0
        units, values = np.zeros(2), np.zeros(2)
        for rate, share in ((0.02, 0.1), (0.05, 0.3), (0.1, 0.5), (0.2, 0.6)):
            n = random.binomial(500, share)
            x, y = random.binomial(n, rate), random.binomial(500 - n, rate)
            total += (1 - share) * x - share * y
            units += (n, 500 - n)
            values += (x, y)
        sums.append(total)
        naive.append(values[0] / units[0] - values[1] / units[1])

    error = np.std(sums) / math.sqrt(len(sums))
    assert abs(np.mean(sums)) < 4 * error
    assert np.mean(naive) > 0.03


def test_inverse_propensities_of_an_even_split_say_the_same_as_plain_sums():
    """200 units of each of two variants, so 1 / p = 2; 40 and 20 successes."""
    inverse = inverse_contrast(
        tilted([1] * 40 + [0] * 160, [2] * 200, 2.0),
        tilted([1] * 20 + [0] * 180, [2] * 200, 2.0),
        np.array([400.0]),
    )
    plain_one = fixed_contrast(plain(200, 40, 40, 0.5, 1), plain(200, 20, 20, 0.5, 1))

    assert inverse.total / inverse.scale == pytest.approx(plain_one.total / plain_one.scale)
    for field in ("time", "difference", "standard_error", "fewest"):
        assert getattr(inverse, field) == pytest.approx(getattr(plain_one, field)), field


def test_a_mask_takes_the_contrasts_it_names():
    units, half, one = np.array([100.0, 200.0]), np.full(2, 0.5), np.ones(2)
    pair = fixed_contrast(
        PlainSums(units, units, units, half, one), PlainSums(units, units / 2, units / 2, half, one)
    )

    assert pair.take(np.array([False, True])).total == pytest.approx(pair.total[1:])


def test_sums_are_those_of_the_pairs_that_are_asked_for():
    """Of one metric, and of two that are stacked, with every field distinct."""
    columns = np.arange(8 * 9.0).reshape(8, 3, 3)
    moments = Moments(*(100.0 + np.arange(3 * 9.0).reshape(3, 3, 3)))
    sums = WeightedSums(*columns, moments=moments, converted=-columns[0])
    own, others = np.array([2, 0]), np.array([1])

    for found, stack in ((sums, ()), (WeightedSums.stack([sums, sums]), (2,))):
        taken = found.at(own, others)

        assert taken.weight.shape == (*stack, 2)
        assert (taken.weight == columns[1][[2, 0], [1, 1]]).all()
        assert (taken.variance == columns[7][[2, 0], [1, 1]]).all()
        assert (taken.converted == -columns[0][[2, 0], [1, 1]]).all()
        assert taken.moments is not None
        assert (taken.moments.third == moments.third[[2, 0], [1, 1]]).all()
        assert taken.heaviest is None


def test_silence_of_a_starved_variant_is_not_certainty():
    """a had 9,900 units at 99 %, b 100 at 1 % of which none has shown a value yet."""
    rng = np.random.default_rng(8)
    amounts = np.where(rng.random(9_900) < 0.01, rng.lognormal(0, 1, 9_900), 0.0)
    a = (amounts, np.full(9_900, 0.01))
    b = (np.zeros(100), np.full(100, 0.99))

    trusting = overlap_contrast(tilted(*a), tilted(*b))
    wary = overlap_contrast(tilted(*a, variance=amounts.var()), tilted(*b))

    assert wary.difference == pytest.approx(trusting.difference)
    assert wary.standard_error[0] > 3 * trusting.standard_error[0]


def test_units_that_a_small_share_has_not_had_yet_count_as_uncertain():
    """Of 1,000 units, a had 500 with p = 1/2 and b 10 with p = 1/2: 980 of b's weight are missing.

    With weights of at most 100 these are worth 980 * 100 squared weights beside the 2,040 there
    are, so the variance is 49 times as large.
    """
    a = tilted([0, 1] * 250, [2] * 500, variance=0.25)
    b = tilted([0, 1] * 5, [2] * 10, variance=0.25)
    known = Moments(np.array([0.25]), np.array([0.0]), np.array([100.0]))

    trusting = inverse_contrast(a, b, np.array([1_000.0]))
    wary = inverse_contrast(
        replace(a, moments=known), replace(b, moments=known), np.array([1_000.0])
    )

    assert wary.difference == pytest.approx(trusting.difference)
    ratio = (2_040 + 98_000) / 2_040
    assert wary.standard_error == pytest.approx(trusting.standard_error * math.sqrt(ratio))
    assert wary.variance == pytest.approx(trusting.variance * ratio)
    assert wary.time == pytest.approx(trusting.time * ratio)


def test_weights_that_sum_to_all_units_miss_none():
    known = Moments(np.array([0.25]), np.array([0.0]), np.array([100.0]))
    a, b = (tilted([0, 1] * 5, [100] * 10, variance=0.25, moments=known) for _ in range(2))

    found = inverse_contrast(a, b, np.array([1_000.0]))

    assert found.time == pytest.approx(2 * 10 * 100**2 / 4)
