"""Bets on conversions: wealth by hand, its expectation, and agreement of ends and p-values."""

from __future__ import annotations

from itertools import product
from math import log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.betting import ConversionBets, PlannedRates, _Sums, _Wealth
from streams.stats.sequential.contrasts import (
    Contrast,
    PlainSums,
    WeightedSums,
    fixed_contrast,
    overlap_contrast,
)
from streams.stats.sequential.conversions import Conversions
from streams.stats.sequential.readings import ConfidenceSequence

ERROR = np.array([0.025])
PLANS = (None, PlannedRates(0.04, 0.05), PlannedRates(0.9, 0.92))


def fixed(units: tuple[int, int], converted: tuple[int, int], share: float = 0.5) -> Contrast:
    sides = [
        PlainSums(
            *(np.array([float(each)]) for each in (n, x, x, part, 1)),
            converted=np.array([float(x)]),
        )
        for n, x, part in zip(units, converted, (share, 1.0 - share), strict=True)
    ]
    return fixed_contrast(*sides)


def moving(variants: FloatArray, weights: FloatArray, values: FloatArray) -> Contrast:
    """Return the contrast of units with overlap weights."""
    zero = np.zeros(1)
    sides = []
    for index in (0, 1):
        w, x = weights[variants == index], values[variants == index]
        columns = (len(w), w.sum(), (w**2).sum(), w @ x, (w**2) @ x, (w**2) @ x)
        n, w1, w2, x1, x2, squares = (np.array([float(each)]) for each in columns)
        converted = np.array([float(x.sum())])
        sides.append(
            WeightedSums(n, w1, w2, x1, x2, squares, zero + 1.0, zero, converted=converted)
        )
    return overlap_contrast(*sides)


def wealth_of(compared: Contrast, planned: PlannedRates | None = None) -> _Wealth:
    assert compared.conversions is not None
    return _Wealth(ConversionBets(planned), compared, compared.conversions, ERROR)


@pytest.mark.parametrize("lead", [-0.002, 0.0, 0.004])
def test_the_wealth_of_a_planned_bet_is_the_product_over_the_units(lead: float) -> None:
    # 250 of 5,000 against 280 of 7,000, shares of 0.4 and 0.6; all other bets are of little weight.
    share, plan = 0.4, PlannedRates(0.04, 0.05)
    found = wealth_of(fixed((5_000, 7_000), (250, 280), share), plan)
    centre = 0.045
    a, b = (centre + lead, centre) if lead >= 0.0 else (centre, centre - lead)
    square = 0.6 * (0.05 * 0.955**2 + 0.95 * 0.045**2) + 0.4 * (0.04 * 0.955**2 + 0.96 * 0.045**2)
    bet = 0.01 / square
    direct = (
        250 * log1p(bet * 0.6 * (1.0 - a))
        + 4_750 * log1p(-bet * 0.6 * a)
        + 280 * log1p(-bet * 0.4 * (1.0 - b))
        + 6_720 * log1p(bet * 0.4 * b)
    )
    whole = float(found.log(np.array([lead]))[0])
    assert np.log(0.8) + direct <= whole <= np.log(0.8) + direct + 1.5  # all other bets together


def test_given_a_conversion_the_bets_are_the_likelihood_ratios() -> None:
    # 30 of a and 20 of b, a fixed share of 0.5; unconverted units are too many to matter.
    found = wealth_of(fixed((10**9, 10**9), (30, 20)))
    ratios = np.array([1.1, 1.2, 1.3, 1.4, 1.5, 1.6])
    likelihoods = ratios**30 / (1.0 + 0.5 * (ratios - 1.0)) ** 50
    bets = 0.7 * 0.9 * likelihoods.mean()
    assert np.exp(found.log(np.zeros(1))[0]) >= bets
    assert np.exp(found.log(np.zeros(1))[0]) <= bets + 0.4 * 30


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12), st.floats(0.0, 5.0), st.booleans())
def test_sums_of_logarithms_are_never_taken_for_more(
    weights: list[float], bet: float, is_even: bool
) -> None:
    w = np.full(len(weights), weights[0]) if is_even else np.array(weights)
    largest = w[0] if is_even else 1.0
    columns = (len(w), w.sum(), (w**2).sum(), len(w), w.sum(), (w**2).sum(), largest)
    units = Conversions(*(np.array([float(each)]) for each in columns))
    loss = bet / 5.3  # at most 0.95
    gained, lost = np.log1p(bet * w).sum(), np.log1p(-loss * w).sum()
    found = (
        float(_Sums.gained(units).least(np.array([bet]))[0]),
        float(_Sums.lost(units).least(np.array([-loss]))[0]),
    )
    assert found[0] <= gained + 1e-7 * (1.0 + abs(gained))
    assert found[1] <= lost + 1e-7 * (1.0 + abs(lost))
    if is_even:
        assert found == pytest.approx((gained, lost), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize("lead", [0.0, 0.1])
def test_the_expected_wealth_is_at_most_1_under_weights_that_follow_the_data(
    planned: PlannedRates | None, lead: float
) -> None:
    # All 4^5 histories of five units; the share of a depends on the conversions so far.
    expected = 0.0
    for history in product(((0, 0), (0, 1), (1, 0), (1, 1)), repeat=5):
        probability, weights = 1.0, []
        for step, (variant, value) in enumerate(history):
            won = sum(x if v == 0 else -x for v, x in history[:step])
            share = 0.5 + 0.08 * won
            rate = 0.3 + 0.05 * step  # of b, and it drifts
            rate += lead if variant == 0 else 0.0
            probability *= (share if variant == 0 else 1.0 - share) * (rate if value else 1 - rate)
            weights.append(1.0 - share if variant == 0 else share)
        variants, values = np.array(history, dtype=np.float64).T
        compared = moving(variants, np.array(weights), values)
        wealth = wealth_of(compared, planned).log(np.array([lead]))
        expected += probability * float(np.exp(wealth)[0])
    assert 0.3 < expected <= 1.0 + 1e-9


@given(
    st.integers(0, 400),
    st.integers(0, 400),
    st.integers(0, 4_000),
    st.integers(0, 4_000),
    st.sampled_from(PLANS),
    st.sampled_from([0.001, 0.025, 0.3]),
)
def test_an_end_is_above_0_exactly_when_the_p_value_is_small_enough(
    x: int, y: int, rest: int, other: int, planned: PlannedRates | None, error: float
) -> None:
    compared = fixed((x + rest, y + other), (x, y))
    reading, at = ConversionBets(planned), np.array([error])
    lower, p_value = reading.lower(compared, at)[0], reading.p_values(compared, at)[0]
    assert (lower > 0.0) == (p_value <= error)
    if np.isfinite(lower):
        wealth = _Wealth(reading, compared, compared.conversions, at)  # type: ignore[arg-type]
        assert wealth.log(np.array([lower]))[0] >= -np.log(error) - 1e-6
        assert lower <= max(wealth.estimate[0], 0.0) or wealth.log(np.zeros(1))[0] >= -np.log(error)


def test_a_high_base_rate_is_no_obstacle() -> None:
    compared = fixed((8_000, 8_000), (7_360, 7_200))
    for reading in (ConversionBets(), ConversionBets(PlannedRates(0.9, 0.92))):
        assert reading.lower(compared, ERROR)[0] > 0.0
    assert ConfidenceSequence().lower(compared, ERROR)[0] < 0.0


def test_what_is_not_of_0_and_1_is_read_by_the_sequence() -> None:
    sides = [
        PlainSums(*(np.array([each]) for each in (9e3, x, x * x, 0.5, np.inf))) for x in (9e3, 8e3)
    ]
    compared, sequence = fixed_contrast(*sides), ConfidenceSequence()
    for reading in (ConversionBets(), ConversionBets(PlannedRates(0.1, 0.2))):
        assert reading.lower(compared, ERROR) == sequence.lower(compared, ERROR)
        assert reading.p_values(compared, ERROR) == sequence.p_values(compared, ERROR)


def test_nothing_is_known_without_units() -> None:
    for units in ((0, 0), (5, 0)):
        compared = fixed(units, (0, 0))
        assert ConversionBets().lower(compared, ERROR)[0] == -np.inf
        assert ConversionBets().p_values(compared, ERROR)[0] == 1.0


@pytest.mark.parametrize("rates", [(0.0, 0.1), (0.2, 0.1), (0.1, 0.1), (0.5, 1.0)])
def test_planned_rates_are_two_increasing_ones(rates: tuple[float, float]) -> None:
    with pytest.raises(InvalidParameterError):
        PlannedRates(*rates)


def test_zero_units_add_nothing_to_any_sum():
    """Weights are at most 1/4 here, so bets up to -4 are allowed."""
    no_units, some_units = 0.0, 3.0
    columns = (10.0, 2.0, 0.45, [no_units, some_units], [0.0, 0.45], [0.0, 0.0825], 0.25)
    units = Conversions(*(np.broadcast_to(np.array(each, dtype=float), 2) for each in columns))

    found = _Sums.lost(units).least(np.array([-3.9, -3.9]))

    assert found[0] == 0.0
    assert found[1] < 0.0
    assert np.isfinite(found).all()
