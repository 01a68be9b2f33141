import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.posteriors.ratio import RatioSample, ratio_posteriors
from streams.tallies.cell import MetricTally
from tests.streams.stats.single_metric import lift_vs_control


def posteriors_of(samples, prior=None):
    linearised = [sample.linearised(sample.units) for sample in samples]
    return ratio_posteriors(linearised, [sample.denominator > 0 for sample in samples], prior=prior)


def sampled(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return RatioSample(
        len(x),
        x.sum(),
        y.sum(),
        ((x - x.mean()) ** 2).sum(),
        ((y - y.mean()) ** 2).sum(),
        ((x - x.mean()) * (y - y.mean())).sum(),
    )


def tallied(values):
    micro = [value * MICRO for value in values]
    return MetricTally(len(micro), len(micro), sum(micro), sum(value * value for value in micro))


def test_two_units_worked_by_hand():
    """x = 1, 5 and y = 1, 3: R = 6 / 4; x - R y = -0.5, 0.5, so z deviates by 0.25 twice."""
    prior = NormalPrior(mean=1.5, variance=1.0, units=1.0, degrees=3.0)

    arm = posteriors_of([sampled([1, 5], [1, 3])], prior=prior)
    expected = NormalPosterior.observed([2], [3.0], [2 * 0.25**2], prior=prior)

    assert arm.location[0] == pytest.approx(1.5)
    assert arm.scale[0] == pytest.approx(expected.scale[0])


def test_products_come_exactly_from_a_metric_of_both():
    """x y = ((x + y)^2 - x^2 - y^2) / 2."""
    x, y = [1, 0, 5, 2], [1, 3, 3, 0]
    both = tallied([a + b for a, b in zip(x, y, strict=True)])
    numerator, denominator = tallied(x), tallied(y)

    product = both.total_squared - numerator.total_squared - denominator.total_squared
    sample = RatioSample.of(4, numerator, denominator, product // 2)

    assert product % 2 == 0
    assert sample == sampled(x, y)


def test_agrees_with_gbstats():
    """Printed by `gbstats` 0.8.0, RatioStatistic, absolute difference; it has no prior."""
    arms = posteriors_of(
        [
            RatioSample(
                4_000,
                9_000,
                12_000,
                30_000 - 9_000**2 / 4_000,
                44_000 - 12_000**2 / 4_000,
                31_000 - 9_000 * 12_000 / 4_000,
            ),
            RatioSample(
                4_100,
                9_500,
                12_200,
                32_000 - 9_500**2 / 4_100,
                44_500 - 12_200**2 / 4_100,
                32_500 - 9_500 * 12_200 / 4_100,
            ),
        ]
    )

    result = lift_vs_control(arms, 0)

    assert result.difference[1] == pytest.approx(0.0286885, abs=1e-4)
    assert result.difference_lower[1] == pytest.approx(0.0078039, abs=1e-4)
    assert result.difference_upper[1] == pytest.approx(0.0495731, abs=1e-4)
    assert result.probability_better[1] == pytest.approx(0.9964524, abs=2e-4)
    assert result.expected_loss[1] == pytest.approx(1.1582e-05, rel=0.05)


def test_intervals_of_a_ratio_hold_where_units_have_many_events():
    """Clicks over views, both of the same unit: binomial intervals would cover two in three.

    400 samples of 300 units at 95 %: fewer than 89.5 % has the probability 1e-5.
    """
    rng = np.random.default_rng(23)
    covered = 0
    for _ in range(400):
        views = 1 + rng.poisson(8.0, 300)
        clicks = rng.binomial(views, rng.beta(0.6, 1.4, 300))
        arm = posteriors_of([sampled(clicks, views)])
        covered += bool(arm.quantiles(0.025)[0] <= 0.3 <= arm.quantiles(0.975)[0])

    assert covered >= 358


def test_denominator_of_one_for_all_users_is_the_plain_mean():
    x = [3.0, 0.0, 1.0, 8.0]
    deviations = ((np.array(x) - 3) ** 2).sum()

    arm = posteriors_of([sampled(x, [1, 1, 1, 1])])
    plain = NormalPosterior.observed([4], [12.0], [deviations])

    assert (arm.location, arm.scale, arm.degrees) == (plain.location, plain.scale, plain.degrees)


def test_arms_without_a_denominator_add_no_information():
    arms = posteriors_of([sampled([3, 1], [2, 4]), sampled([1, 1], [0, 0])])

    assert arms.degrees[1] == 3.0
    assert arms.location[1] == arms.location[0]


pairs = st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 50)), min_size=1, max_size=8)


@settings(max_examples=50)
@given(pairs, st.sampled_from([0.5, 4.0]), st.sampled_from([0.25, 8.0]))
def test_units_of_measurement_scale_the_ratio(unit_pairs, x_factor, y_factor):
    x, y = (np.array(column, dtype=float) for column in zip(*unit_pairs, strict=True))
    prior, factor = NormalPrior(0.5, 2.0), x_factor / y_factor
    scaled_prior = NormalPrior(0.5 * factor, 2.0 * factor**2)

    plain = posteriors_of([sampled(x, y)], prior=prior)
    scaled = posteriors_of([sampled(x * x_factor, y * y_factor)], prior=scaled_prior)

    assert scaled.location == pytest.approx(plain.location * factor, abs=1e-9)
    assert scaled.scale == pytest.approx(plain.scale * factor, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0, 0, 0, 0, 0), "units"),
        ((1, np.nan, 0, 0, 0, 0), "numerator"),
        ((1, 0, -1, 0, 0, 0), "denominator"),
        ((1, 0, 1, -1, 0, 0), "numerator_squared_deviations"),
        ((1, 0, 1, 1, -1, 0), "denominator_squared_deviations"),
        ((1, 0, 1, 1, 1, 2), "codeviations"),
    ],
)
def test_sums_outside_their_domain_are_refused(arguments, name):
    with pytest.raises(InvalidParameterError) as caught:
        RatioSample(*arguments)

    assert caught.value.path == name


def test_nothing_tallied_is_nothing():
    assert RatioSample.of(0, MetricTally(), MetricTally(), 0) == RatioSample(0, 0, 0, 0, 0, 0)
