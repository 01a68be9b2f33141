from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.best import best
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.nonstationary.period_samples import Samples
from streams.stats.nonstationary.stratification import stratified
from streams.stats.sample import Sample


def binary(units, conversions):
    deviations = conversions * (1 - conversions / units) if units else 0.0
    return Sample(units, conversions, conversions, deviations, 0.0)


def pooled(periods):
    return Samples.of(periods).pooled().row(0)


SIMPSON = [
    # On weekdays 1 % convert and A had most of the traffic; at the week-end, when 5 % do, B had.
    [binary(90_000, 900), binary(10_000, 80)],
    [binary(10_000, 500), binary(90_000, 4_050)],
]


def test_simpsons_paradox_does_not_turn_the_winner_round():
    """A is better in both periods, and by far the worse one of pooled counts."""
    wrong = best(FAMILIES[MetricKind.BINARY].posteriors(pooled(SIMPSON)))
    right = best(FAMILIES[MetricKind.BINARY].posteriors(stratified(Samples.of(SIMPSON))))

    assert wrong.probability[1] > 0.999
    assert right.probability[0] > 0.95


def test_worked_by_hand():
    """Shares 1/2 each: A (1 + 5) / 2 %, B (0.8 + 4.5) / 2 %; worth 1 / (1/4 / 90k + 1/4 / 10k)."""
    a, b = stratified(Samples.of(SIMPSON))

    assert a.mean == pytest.approx(0.03)
    assert b.mean == pytest.approx(0.0265)
    assert a.units == pytest.approx(36_000)
    assert b.units == pytest.approx(36_000)


def test_weights_that_never_moved_change_nothing():
    periods = [[binary(900, 9), binary(100, 3)], [binary(1_800, 90), binary(200, 14)]]

    result = stratified(Samples.of(periods))

    for sample, expected in zip(result, pooled(periods), strict=True):
        assert astuple(sample) == pytest.approx(astuple(expected))


def test_periods_without_some_variant_are_left_out():
    periods = [[binary(900, 9), binary(100, 3)], [binary(500, 50), binary(0, 0)]]

    result = stratified(Samples.of(periods))

    assert result[0].mean == pytest.approx(0.01)


@pytest.mark.parametrize("periods", [[], [[binary(5, 1), binary(0, 0)]]])
def test_nothing_to_compare_is_nothing(periods):
    result = stratified(Samples.of(periods) if periods else Samples.tallied([], 2))

    assert all(sample == Sample(0, 0, 0, 0, 0) for sample in result)


def test_intervals_hold_while_rate_and_weights_move():
    """7 periods from 2 to 14 %, A falling from 90 to 10 % of the traffic, B the same rates.

    300 repetitions of 95 % intervals of both variants: fewer than 88.5 % of 600 has the probability
    1e-9, if they hold. Pooled, the two means are 4 points apart with the same truth.
    """
    rng = np.random.default_rng(41)
    rates = np.linspace(0.02, 0.14, 7)
    weights = np.linspace(0.9, 0.1, 7)
    covered, apart = 0, []
    for _ in range(300):
        periods = [
            [
                binary(n, int(rng.binomial(n, rate)))
                for n in (int(4_000 * w), 4_000 - int(4_000 * w))
            ]
            for rate, w in zip(rates, weights, strict=True)
        ]
        arms = FAMILIES[MetricKind.BINARY].posteriors(stratified(Samples.of(periods)))
        inside = (arms.quantiles(0.025) <= rates.mean()) & (rates.mean() <= arms.quantiles(0.975))
        covered += int(inside.sum())
        a, b = pooled(periods)
        apart.append(b.mean - a.mean)

    assert covered / 600 >= 0.885
    assert min(apart) > 0.03


period_strategy = st.lists(
    st.tuples(st.integers(1, 5_000), st.integers(1, 5_000), st.floats(0.001, 0.9)),
    min_size=1,
    max_size=6,
)


@given(period_strategy, st.floats(1.001, 1.1))
def test_better_in_every_period_is_better(rows, factor):
    periods = [
        [binary(n_a, n_a * rate), binary(n_b, n_b * min(1.0, rate * factor))]
        for n_a, n_b, rate in rows
    ]

    a, b = stratified(Samples.of(periods))

    assert b.mean > a.mean


@given(period_strategy, st.randoms(use_true_random=False))
def test_order_of_the_periods_does_not_matter(rows, random):
    periods = [[binary(n_a, n_a * rate), binary(n_b, n_b * rate / 2)] for n_a, n_b, rate in rows]
    shuffled = list(periods)
    random.shuffle(shuffled)

    for left, right in zip(
        stratified(Samples.of(periods)),
        stratified(Samples.of(shuffled)),
        strict=True,
    ):
        assert astuple(left) == pytest.approx(astuple(right), rel=1e-9, abs=1e-9)


@given(period_strategy)
def test_no_sample_is_worth_more_than_its_units(rows):
    periods = [[binary(n_a, n_a * rate), binary(n_b, n_b * rate)] for n_a, n_b, rate in rows]

    result = stratified(Samples.of(periods))

    for sample, whole in zip(result, pooled(periods), strict=True):
        assert sample.units <= whole.units * (1 + 1e-9)


def test_periods_have_the_same_variants():
    with pytest.raises(InvalidParameterError):
        Samples.of([[binary(1, 1)], [binary(1, 1), binary(1, 0)]])
