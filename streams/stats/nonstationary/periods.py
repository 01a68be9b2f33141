"""One sample per variant from its units by period of assignment.

Three corrections for non-stationarity, alone or combined: delayed conversions, decay, and
stratification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.stats.arrays import FloatArray
from streams.stats.nonstationary.decay import faded
from streams.stats.nonstationary.delayed_conversions import ArrivalCurve, matured
from streams.stats.nonstationary.period_samples import Samples
from streams.stats.nonstationary.stratification import stratified
from streams.stats.sample import Sample
from streams.tallies.cell import VariantTally
from streams.tallies.periods import FINEST_DELAY_SHIFT, Period, PeriodTally

MIN_UNITS_OF_STRATUM = 30
"""Minimum units of every variant in a stratum: shorter periods are merged."""

MIN_ARRIVALS = 50
"""Observations by the end of a bucket of delay, of units old enough for it, for it to be used."""

_NO_UNITS = PeriodTally()
_POINTS = (np.arange(8) + 0.5) / 8.0  # within a period, for the mean over its units


@dataclass(frozen=True, slots=True)
class TimeWeights:
    """Weights of units by period.

    Attributes:
        half_life_s: Seconds after which the weight of a unit has halved, > 0; None without decay.
            Age is the time from the middle of its period to the end of the newest one, so nothing
            decays after the last assignment.
        is_delayed: Whether a unit is weighted by the expected share of its observations that have
            arrived.
        is_stratified: Whether variants are compared within periods, so that a drifting base rate
            under moving weights favours none. As long as some variant has less than
            `MIN_UNITS_OF_STRATUM` units there is one stratum, of all periods.
    """

    half_life_s: float | None = None
    is_delayed: bool = False
    is_stratified: bool = False


def read_periods(
    variants: Sequence[VariantTally], weights: TimeWeights, now_ms: int
) -> tuple[Sample, ...]:
    """Return the samples for posteriors of the means.

    Args:
        variants: Tallies that were kept by period.
        weights: Weights of the periods.
        now_ms: Time of the newest event. Earlier events that were not counted are treated as
            absent.
    """
    periods = sorted(
        {period for variant in variants for period in variant.periods},
        key=lambda period: period.begins_at_ms,
    )
    rows = [[variant.periods.get(period, _NO_UNITS) for variant in variants] for period in periods]
    ages_s, starts = _ages_s(periods), _strata(rows) if weights.is_stratified else [0]
    arrived = _arrived(periods, rows, now_ms) if weights.is_delayed else None
    samples = Samples.tallied(rows, len(variants))
    if weights.half_life_s is not None and periods:
        samples = faded(samples, ages_s, weights.half_life_s)
    strata = samples.pooled(starts) if arrived is None else matured(samples, arrived, starts)
    return strata.row(0) if len(starts) == 1 else stratified(strata)


def in_buckets(delays_ms: FloatArray) -> FloatArray:
    """Return how many buckets of delay are over at delays >= 0, with parts of those they are in.

    >>> in_buckets(np.array([0.0, 2_048.0, 4_096.0, 6_144.0, 8_192.0]))
    array([0. , 0.5, 1. , 1.5, 2. ])
    """
    first = delays_ms / (1 << FINEST_DELAY_SHIFT)
    # A bucket begins at a power of two: that is its number, and the rest is how far it is over.
    fraction, exponent = np.frexp(np.maximum(first, 1.0))
    buckets: FloatArray = np.where(first < 1.0, first, exponent + 2.0 * fraction - 1.0)
    return buckets


def _ages_s(periods: Sequence[Period]) -> list[float]:
    newest_ms = periods[-1].ends_at_ms if periods else 0
    return [
        (newest_ms - (period.begins_at_ms + period.ends_at_ms) / 2) / 1000.0 for period in periods
    ]


def _arrived(
    periods: Sequence[Period], rows: Sequence[Sequence[PeriodTally]], now_ms: int
) -> FloatArray:
    """Return the expected share of arrived observations of every period.

    The curve is pooled over all variants. Within a period, units are assumed to be spread evenly,
    up to now.
    """
    width = max((len(each.arrivals) for row in rows for each in row), default=0)
    if not width:
        return np.ones(len(periods))
    counts = np.zeros((len(rows), width))
    for row, of_all in zip(rows, counts, strict=True):
        for each in row:
            if each.arrivals:
                of_all[: len(each.arrivals)] += each.arrivals
    begins_ms = np.array([period.begins_at_ms for period in periods], dtype=np.float64)
    ends_ms = np.array([period.ends_at_ms for period in periods], dtype=np.float64)
    youngest_ms = np.maximum(now_ms - ends_ms, 0.0)
    oldest_ms = np.maximum(now_ms - begins_ms, 0.0)
    ages_ms = youngest_ms[:, None] + (oldest_ms - youngest_ms)[:, None] * _POINTS
    curve = ArrivalCurve.estimated(counts, in_buckets(youngest_ms), MIN_ARRIVALS)
    shares: FloatArray = curve.at(in_buckets(ages_ms)).mean(axis=1)
    return shares


def _strata(rows: Sequence[Sequence[PeriodTally]]) -> list[int]:
    """Return the first rows of the strata: as few rows each as give every variant enough units."""
    starts = [0]
    units = [0] * len(rows[0]) if rows else []
    for end, row in enumerate(rows, 1):
        assigned = [max(each.units, each.units_with_value) for each in row]
        units = [known + new for known, new in zip(units, assigned, strict=True)]
        if min(units) >= MIN_UNITS_OF_STRATUM:
            starts.append(end)
            units = [0] * len(row)
    # The rest at the end is too little for a separate stratum.
    return starts[:-1] or [0]
