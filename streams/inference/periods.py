"""One sample a variant from its units by period of assignment.

Three questions are asked of the periods, together or apart: how much of what they will tell has
arrived (`arrivals`), how much they still matter (`forgetting`), and which of them can be compared
(`strata`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from streams.inference.arrivals import ArrivalCurve, matured
from streams.inference.forgetting import AgedSample, faded
from streams.inference.sample import Sample
from streams.inference.strata import stratified
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.periods import Period, PeriodTally, in_buckets

MIN_UNITS_OF_STRATUM = 30
"""Units of every variant in a stratum, at least: shorter periods are put together to one."""

_NOBODY = PeriodTally()
_POINTS = (np.arange(8) + 0.5) / 8.0  # within a period, for the mean over its units


@dataclass(frozen=True, slots=True)
class Reading:
    """How the units of different periods count.

    Attributes:
        half_life_s: Seconds after which a unit counts half, > 0; None if none is forgotten. Age is
            time before the newest assignment, so nothing fades once nobody is assigned any more.
        is_delayed: Whether a unit counts for the share of its observations that can have arrived.
        is_stratified: Whether variants are compared within periods, so that a drifting base rate
            under moving weights favours none. As long as some variant has less than
            `MIN_UNITS_OF_STRATUM` units there is one stratum, of all periods.
    """

    half_life_s: float | None = None
    is_delayed: bool = False
    is_stratified: bool = False


def read_periods(
    variants: Sequence[VariantTally], reading: Reading, now_ms: int
) -> tuple[Sample, ...]:
    """Return the samples that posteriors of the means should be of.

    Args:
        variants: Tallies that were kept by period.
        reading: How the periods count.
        now_ms: Time up to which observations have been counted.
    """
    periods = sorted(
        {period for variant in variants for period in variant.periods},
        key=lambda period: period.begins_at_ms,
    )
    rows = [[variant.periods.get(period, _NOBODY) for variant in variants] for period in periods]
    samples = _faded(periods, [[_sample(each) for each in row] for row in rows], reading)
    shares = _arrived(periods, rows, now_ms) if reading.is_delayed else [1.0] * len(periods)
    groups = _strata(rows) if reading.is_stratified else [slice(len(rows))]
    strata = [
        [
            _told([row[index] for row in samples[group]], shares[group], reading)
            for index in range(len(variants))
        ]
        for group in groups
    ]
    return tuple(strata[0]) if len(strata) == 1 else stratified(strata).samples


def _sample(tally: PeriodTally) -> Sample:
    values = MetricTally(
        units=tally.units_with_value, total=tally.total, total_squared=tally.total_squared
    )
    return Sample.of(tally.units, values)


def _faded(
    periods: Sequence[Period], rows: list[list[Sample]], reading: Reading
) -> list[list[Sample]]:
    if reading.half_life_s is None or not periods:
        return rows
    newest_ms = periods[-1].ends_at_ms
    ages_s = [
        (newest_ms - (period.begins_at_ms + period.ends_at_ms) / 2) / 1000.0 for period in periods
    ]
    return [
        [faded(AgedSample(age_s, sample), reading.half_life_s) for sample in row]
        for age_s, row in zip(ages_s, rows, strict=True)
    ]


def _arrived(
    periods: Sequence[Period], rows: Sequence[Sequence[PeriodTally]], now_ms: int
) -> list[float]:
    """Return which share of the observations of every period can have arrived.

    The curve is that of all variants together. Within a period its units are taken to be spread
    evenly, up to now.
    """
    counts = [
        [sum(column) for column in zip_longest(*(each.arrivals for each in row), fillvalue=0)]
        for row in rows
    ]
    width = max(map(len, counts), default=0)
    if not width:
        return [1.0] * len(periods)
    youngest_ms = [max(0, now_ms - period.ends_at_ms) for period in periods]
    oldest_ms = [max(0, now_ms - period.begins_at_ms) for period in periods]
    curve = ArrivalCurve.estimated(
        [row + [0] * (width - len(row)) for row in counts], [in_buckets(ms) for ms in youngest_ms]
    )
    shares = []
    for youngest, oldest in zip(youngest_ms, oldest_ms, strict=True):
        ages_ms = youngest + (oldest - youngest) * _POINTS
        shares.append(float(np.mean(curve.at([in_buckets(age_ms) for age_ms in ages_ms.tolist()]))))
    return shares


def _told(samples: Sequence[Sample], shares: Sequence[float], reading: Reading) -> Sample:
    if reading.is_delayed:
        return matured(samples, shares)
    return Sample.pooled((1.0, sample) for sample in samples)


def _strata(rows: Sequence[Sequence[PeriodTally]]) -> list[slice]:
    """Return which rows make a stratum: as few as give every variant enough units."""
    groups: list[slice] = []
    begin = 0
    units = [0] * len(rows[0]) if rows else []
    for end, row in enumerate(rows, 1):
        assigned = [max(each.units, each.units_with_value) for each in row]
        units = [known + new for known, new in zip(units, assigned, strict=True)]
        if min(units) >= MIN_UNITS_OF_STRATUM:
            groups.append(slice(begin, end))
            begin, units = end, [0] * len(row)
    if not groups:
        return [slice(len(rows))]
    # What is left at the end is too little for a stratum of its own.
    return [*groups[:-1], slice(groups[-1].start, len(rows))]
