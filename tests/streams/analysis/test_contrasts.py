"""By which sums variants are compared, and what holds of the comparison."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.traffic import Traffic, TrafficPlan
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE, to_propensity
from streams.model.variant_weights import pack_propensities
from streams.policies.bayesian_ab import BayesianAB
from streams.policies.thompson_sampling import ThompsonSampling
from streams.stats.bounds import BINARY
from streams.stats.sample import Sample
from streams.stats.sequential.comparison import intervals
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.weights import weighted

THOMPSON = ThompsonSampling()


def plain(values):
    """Tally of one observation a unit, without weights."""
    micro = [round(value * MICRO) for value in values]
    square, cube = (sum(x**power for x in micro) for power in (2, 3))
    return MetricTally(len(micro), len(micro), sum(micro), square, total_cubed=cube)


def tallied(*groups, variant=0, shares=()):
    """Tally of groups of units (propensity, units, values), and the shares of each group."""
    total = VariantTally()
    for group, (propensity, units, values) in enumerate(groups):
        packed = pack_propensities([*map(to_propensity, shares[group])]) if shares else b""
        total += weighted(
            units,
            {"click": plain(values)},
            to_propensity(propensity),
            variant=variant,
            weights=packed,
            n_variants=len(packed) or 2,
        )
    return total


def traffic_of(variants, policy=THOMPSON):
    shares = (ALLOCATION_TOTAL // len(variants),) * len(variants)
    return Traffic.of(TrafficPlan(policy, shares), variants)


def compared(variants, *, policy=THOMPSON, is_binary=True, weighting=None):
    traffic = traffic_of(variants, policy)
    if weighting is not None:
        traffic = replace(traffic, weighting=weighting)
    metrics = [variant.metrics.get("click", MetricTally()) for variant in variants]
    samples = [Sample.of(v.units, m) for v, m in zip(variants, metrics, strict=True)]
    return MetricContrasts.of(traffic, metrics, samples, bounds=BINARY if is_binary else None)


def moved(n_variants):
    """Variants whose shares were even at first, and then were not."""
    shares = [(0.5, 0.9), (0.5, 0.1)] if n_variants == 2 else [(0.3, 0.8), (0.3, 0.1), (0.4, 0.1)]
    return [
        tallied(
            *((share, round(2_000 * share), [1] * round(300 * share)) for share in pair),
            variant=variant,
            shares=[*zip(*shares, strict=True)],
        )
        for variant, pair in enumerate(shares)
    ]


def test_variants_are_compared_by_overlap_where_all_weights_are_known():
    """Of two by 1 - p; of three by their receipts; else, as of more than fit, by 1 / p."""
    unknown = [tallied((share, 100, [1] * 50)) for share in (0.2, 0.3, 0.5)]
    many = [tallied((1 / 17, 100, [1] * 50), variant=variant) for variant in range(17)]

    assert traffic_of(moved(2)).weighting is Weighting.OVERLAP
    assert traffic_of(moved(3)).weighting is Weighting.OVERLAP
    assert traffic_of([*moved(3)[:2], unknown[2]]).weighting is Weighting.INVERSE
    assert traffic_of(many).weighting is Weighting.INVERSE


def test_a_metric_whose_sums_by_pair_are_missing_is_compared_by_inverse_propensities():
    """As of one that is not declared."""
    variants = moved(3)
    undeclared = [replace(v.metrics["click"], overlap_total=0) for v in variants]

    assert traffic_of(variants).weighting_of(undeclared) is Weighting.INVERSE
    assert traffic_of(variants).weighting_of([v.metrics["click"] for v in variants]) == "overlap"


def test_a_pair_of_three_worked_by_hand():
    """Units of a at 1/2 beside b at 1/4: bytes 16 and 32, whose lower ends are l / 2 and l / 4.

    With l = 2**(-1/32) the overlap is l / 6, so one of a counts l / 3 and one of b 2 l / 3. The
    third variant, which has the rest, is not in it.
    """
    ends = 2 ** (-1 / 32)
    shares = [(0.5, 0.25, 0.25)]
    a = tallied((0.5, 6, [1, 1]), variant=0, shares=shares)
    b = tallied((0.25, 3, [1]), variant=1, shares=shares)
    c = tallied((0.25, 3, [1, 1, 1]), variant=2, shares=shares)

    found = compared([a, b, c]).contrast([0], [1])

    assert found.total == pytest.approx(ends * (2 / 3 - 2 / 3), abs=1e-8)
    assert found.squares == pytest.approx(ends**2 * (2 / 9 + 4 / 9))
    assert found.scale == pytest.approx(ends * (6 / 3 + 3 * 2 / 3) / 2)
    assert (found.max_decrement[0], found.max_increment[0]) == (1.0, 1.0)


def test_shares_that_never_moved_are_compared_by_plain_sums():
    even = [tallied((0.5, 500, [1] * 60)), tallied((0.5, 500, [1] * 50))]

    assert traffic_of(even, BayesianAB()).weighting is Weighting.PLAIN
    assert traffic_of(moved(2), BayesianAB()).weighting is Weighting.OVERLAP


def test_overlap_contrast_worked_by_hand():
    """Units at 1/4 and 1/2 count 3/4 and 1/2 in one variant; at 3/4 and 1/2 in the other."""
    a = tallied((0.25, 4, [1, 1]), (0.5, 6, [1]))
    b = tallied((0.75, 8, [1]), (0.5, 6, [1, 1]), variant=1)

    found = compared([a, b]).contrast([0], [1])

    assert found.total == pytest.approx(0.75 * 2 + 0.5 - 0.25 - 0.5 * 2)
    assert found.squares == pytest.approx(0.5625 * 2 + 0.25 + 0.0625 + 0.25 * 2)
    assert found.scale == pytest.approx((0.75 * 4 + 0.5 * 6 + 0.25 * 8 + 0.5 * 6) / 2)
    assert (found.max_decrement[0], found.max_increment[0]) == (1.0, 1.0)


def test_a_factor_on_the_control_is_a_factor_on_its_values():
    """As a guardrail asks: nine tenths of 1 is 0.9."""
    variants = moved(2)
    groups = (0.5, 1_000, [0.9] * 150), (0.1, 200, [0.9] * 30)
    tenth_less = [variants[0], tallied(*groups, variant=1)]

    asked = compared(variants, is_binary=False).contrast([0], [1], 0.9)
    found = compared(tenth_less, is_binary=False).contrast([0], [1])

    for name in ("total", "difference", "standard_error", "squares"):
        assert getattr(asked, name) == pytest.approx(getattr(found, name), rel=1e-6), name


@pytest.mark.parametrize("n_variants", [2, 3])
@pytest.mark.parametrize("weighting", [None, Weighting.INVERSE])
def test_a_difference_is_that_of_the_means_of_both_beside_each_other(n_variants, weighting):
    found = compared(moved(n_variants), weighting=weighting)
    means = found.mean_beside(0, 1), found.mean_beside(1, 0)

    assert found.contrast([0], [1]).difference.item() == pytest.approx(means[0] - means[1])
    assert 0.0 < min(means) <= max(means) < 1.0


def test_the_mean_of_a_variant_that_was_never_compared_is_0():
    assert compared([tallied((0.5, 10, [1])), VariantTally()]).mean_beside(1, 0) == 0.0


@pytest.mark.parametrize("n_variants", [2, 3])
def test_a_common_level_of_the_values_adds_no_noise(n_variants):
    """Durations of 1,000 s and more are compared as sharply as the same less 1,000 s."""
    random = np.random.default_rng(4)
    shares = (0.7, 0.2, 0.1)[:n_variants] if n_variants == 3 else (0.8, 0.2)
    values = [random.normal(0, 1, round(400 * share)) for share in shares]

    near, far = (
        compared(
            [
                tallied(
                    (share, len(some), some + level),
                    (1 / n_variants, 50, [level] * 50),
                    variant=variant,
                    shares=[shares, [1 / n_variants] * n_variants],
                )
                for variant, (share, some) in enumerate(zip(shares, values, strict=True))
            ],
            is_binary=False,
        ).contrast([0], [1])
        for level in (0.0, 1_000.0)
    )

    assert far.difference == pytest.approx(near.difference, abs=1e-4)
    assert far.standard_error == pytest.approx(near.standard_error, rel=1e-2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize(
    "unweighted",
    [
        weighted(0, {"click": plain([1] * 40)}, PROPENSITY_ONE // 2),
        tallied((1.0, 50, [1] * 40)),
    ],
    ids=["observed before its impressions", "never without it"],
)
def test_nothing_is_known_of_a_variant_without_weights(unweighted, is_binary):
    """Observations come by another topic, and may be here before the impressions."""
    contrast = compared([unweighted, moved(2)[1]], is_binary=is_binary).contrast([0], [1])

    found = intervals(contrast, 0.05)

    assert (found.lower[0], found.upper[0]) == (-math.inf, math.inf)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(1, PROPENSITY_ONE - 1), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=4,
    )
)
def test_exchanging_the_variants_reverses_the_comparison(groups):
    ones = {"click": plain([1] * 5)}
    a, b = VariantTally(), VariantTally()
    for propensity, n_a, n_b in groups:
        a += weighted(5 + n_a, ones, propensity)
        b += weighted(5 + n_b, ones, PROPENSITY_ONE - propensity, variant=1)
    exchanged = [VariantTally(), VariantTally()]
    for propensity, n_a, n_b in groups:
        exchanged[0] += weighted(5 + n_b, ones, PROPENSITY_ONE - propensity)
        exchanged[1] += weighted(5 + n_a, ones, propensity, variant=1)

    forth = intervals(compared([a, b]).contrast([0], [1]), 0.05)
    back = intervals(compared(exchanged).contrast([1], [0]), 0.05)

    assert forth.lower == pytest.approx(back.lower, rel=1e-9)
    assert forth.upper == pytest.approx(back.upper, rel=1e-9)


def test_propensities_that_are_not_each_others_rest_are_a_mismatch():
    """Two of three variants of a foreign log, at 1/10 and 3/10: 1 - p is no propensity."""
    theirs, ours = (
        [
            tallied((share, 1_000 + 2_000 * variant, [1] * 100), variant=variant)
            for variant, share in enumerate(shares)
        ]
        for shares in ((0.1, 0.3), (0.25, 0.75))
    )

    assert traffic_of(theirs).sample_ratio().p_value < 1e-6
    assert traffic_of(ours).sample_ratio().p_value == 1.0


def test_a_mismatch_is_seen_where_the_traffic_is_though_variants_were_starved():
    """A tenth of the units of an even time is lost; before, either variant had a hundredth of all.

    By 1 / propensity the early times are so noisy that nothing would be seen: 5,000 are missing of
    sums that vary by 10,000.
    """
    one = tallied((0.99, 990_000, []), (0.01, 10_000, []), (0.5, 50_000, []))
    other = tallied((0.01, 10_000, []), (0.99, 990_000, []), (0.5, 45_000, []), variant=1)

    found = traffic_of([one, other]).sample_ratio()

    by_inverse = replace(traffic_of([one, other]), weighting=Weighting.INVERSE).sample_ratio()
    assert by_inverse.p_value > 0.5
    assert found.p_value < 0.001
    even = 9_900 + 9_900
    assert found.ratios[1] == pytest.approx((even + 22_500) / (even + 23_750))


def test_values_with_a_cap_are_compared_exactly_from_their_floor():
    """A constant taken from every value changes no interval, if all units have a value."""
    low, high = [4.9, 5.1, -2.0] * 100, [6.1, 7.3, -1.0] * 100

    def ends(shift, bounds):
        variants = [
            tallied((0.5, 300, [value + shift for value in values])) for values in (high, low)
        ]
        traffic = traffic_of(variants, BayesianAB())
        metrics = [variant.metrics["click"] for variant in variants]
        samples = [Sample.of(v.units, m) for v, m in zip(variants, metrics, strict=True)]
        found = MetricContrasts.of(traffic, metrics, samples, bounds=bounds)
        compared = found.contrast([0], [1])
        assert compared.is_bounded
        assert compared.has_lower.all()
        assert found.skewness is None
        return intervals(compared, 0.05)

    above, across = ends(3.0, (0.0, 12.0)), ends(0.0, (-3.0, 9.0))

    assert above.lower == pytest.approx(across.lower)
    assert above.upper == pytest.approx(across.upper)
    assert 0.0 < across.lower[0] < 4.4 / 3 < across.upper[0]


def test_a_tolerated_share_of_values_below_zero_stays_within_the_bounds():
    """Against 1.5 times the control, a value of -3 is one of -4.5."""
    variants = [tallied((0.5, 300, [-3.0, 8.0] * 150)) for _ in range(2)]
    traffic = traffic_of(variants, BayesianAB())
    metrics = [variant.metrics["click"] for variant in variants]
    samples = [Sample.of(v.units, m) for v, m in zip(variants, metrics, strict=True)]

    found = MetricContrasts.of(traffic, metrics, samples, bounds=(-3.0, 8.0))
    compared = found.contrast([0], [1], times=1.5)

    assert compared.max_increment[0] == pytest.approx(0.5 * (8.0 + 4.5))
    assert compared.max_decrement[0] == pytest.approx(0.5 * (12.0 + 4.5))
    assert compared.total[0] / compared.scale[0] == pytest.approx(2.5 - 1.5 * 2.5)
