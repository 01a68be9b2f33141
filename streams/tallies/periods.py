"""Periods of assignment, short for the newest units and longer for older ones.

A period is a time interval [number * 2**shift, (number + 1) * 2**shift) ms. The period of a unit
depends only on its assignment time and the newest time of all: as time advances, the two halves of
a longer period are merged. The result does not depend on the order of counting and merging; so
tallies by period are still sums that can be folded, merged and replayed in any order, and a year
needs about 115 periods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from streams.model.quantities import MICRO
from streams.tallies.fields import FieldTable, Statistic, entries, summed

FINEST_SHIFT = 18
"""The shortest periods are 2**18 ms, which is 4.4 minutes."""

PAIRS_PER_LENGTH = 8
"""Maximum number of pairs of periods of one length before the oldest pair is merged: a period is at
most a seventh of its age long."""

FINEST_DELAY_SHIFT = 12
"""The first bucket of delay ends at 2**12 ms, every further one at twice the time."""


class Period(NamedTuple):
    """The time from number * 2**shift to (number + 1) * 2**shift, in ms since the epoch."""

    shift: int
    number: int

    @property
    def begins_at_ms(self) -> int:
        """Its first millisecond."""
        return self.number << self.shift

    @property
    def ends_at_ms(self) -> int:
        """The first millisecond after it."""
        return (self.number + 1) << self.shift

    def seen_from(self, newest: int) -> Period:
        """Return the period that this one belongs to once the newest unit is of the tick `newest`.

        >>> Period(FINEST_SHIFT, 6).seen_from(newest=20), Period(FINEST_SHIFT, 5).seen_from(20)
        (Period(shift=18, number=6), Period(shift=19, number=2))
        """
        shift, number = self
        newest >>= shift - FINEST_SHIFT
        while (newest >> 1) - (number >> 1) >= PAIRS_PER_LENGTH:
            newest >>= 1
            number >>= 1
            shift += 1
        return Period(shift, number)


def tick_of(at_ms: int) -> int:
    """Return the index of the shortest period that contains a time."""
    return at_ms >> FINEST_SHIFT


def delay_bucket(delay_ms: int) -> int:
    """Return the bucket of a delay: they end at 4.1 s, 8.2 s, 16.4 s, and so on.

    >>> [delay_bucket(ms) for ms in (-5, 4_095, 4_096, 8_192)]
    [0, 0, 1, 2]
    """
    return (max(delay_ms, 0) >> FINEST_DELAY_SHIFT).bit_length()


@dataclass(frozen=True, slots=True)
class PeriodTally:
    """The units of one variant that were assigned in one period, by one metric.

    Attributes:
        units: Units assigned.
        units_with_value: Units with at least one observation.
        total: Sum of the unit values, in micro-units.
        total_squared: Sum of their squares, in micro-units squared.
        positive_units: Units whose value is above 0.
        arrivals: Observations by `delay_bucket` of the time since their assignment, up to the last
            bucket with any.
    """

    units: int = summed(Statistic.UNITS)
    units_with_value: int = summed(Statistic.UNITS)
    total: int = summed(Statistic.VALUE)
    total_squared: int = summed(Statistic.SQUARE)
    positive_units: int = summed(Statistic.POSITIVE)
    arrivals: tuple[int, ...] = entries(are_counts=True)

    def once(self) -> PeriodTally:
        """Return the tally of the same units, whose value is 1 if it is above 0, and else 0."""
        return replace(
            self,
            total=MICRO * self.positive_units,
            total_squared=MICRO * MICRO * self.positive_units,
        )

    def __add__(self, other: PeriodTally) -> PeriodTally:
        return PERIOD_FIELDS.new(*PERIOD_FIELDS.added(self, other))


PERIOD_FIELDS = FieldTable(PeriodTally)

ByPeriod = Mapping[Period, PeriodTally]
"""Tallies by period of assignment, in order of the periods."""


def newest_tick(tallies: Iterable[ByPeriod]) -> int | None:
    """Return the tick at which the newest period begins; None without any."""
    return max(
        (period.number << period.shift - FINEST_SHIFT for each in tallies for period in each),
        default=None,
    )


def add_periods(*tallies: ByPeriod, newest: int | None = None) -> ByPeriod:
    """Return the sum of tallies by period, which may have different newest units.

    Args:
        tallies: Of one variant.
        newest: Tick of the newest unit; None for the newest one of these.
    """
    if newest is None:
        newest = newest_tick(tallies)
    total: dict[Period, PeriodTally] = {}
    if newest is None:
        return total
    for each in tallies:
        for period, tally in each.items():
            seen = period.seen_from(newest)
            known = total.get(seen)
            total[seen] = tally if known is None else known + tally
    return dict(sorted(total.items()))


def align(tallies: Mapping[int, ByPeriod]) -> dict[int, ByPeriod]:
    """Return the tallies of several variants, aligned to the newest unit of all."""
    newest = newest_tick(tallies.values())
    return {index: add_periods(each, newest=newest) for index, each in tallies.items()}


class PeriodSums:
    """Builder of tallies by period: the additions since the last `freeze`."""

    __slots__ = ("_arrivals", "_units", "_values")

    def __init__(self) -> None:
        self._units: dict[tuple[int, int], int] = {}
        self._values: dict[tuple[int, int], list[int]] = {}
        self._arrivals: dict[tuple[int, int], list[int]] = {}

    def add_units(self, counts: Mapping[tuple[int, int], int]) -> None:
        """Add units, by (variant, tick of the assignment)."""
        for key, count in counts.items():
            self._units[key] = self._units.get(key, 0) + count

    def add_value(
        self, key: tuple[int, int], before: int | None, change: int, delay_ms: int
    ) -> None:
        """Add an observation.

        Args:
            key: Variant, and tick of its assignment.
            before: What the unit's value was before it, in micro-units; None if it had none.
            change: What it adds to it.
            delay_ms: Time since the assignment.
        """
        sums = self._values.get(key)
        if sums is None:
            sums = self._values[key] = [0, 0, 0, 0]
            self._arrivals[key] = []
        sums[1] += change
        if before is None:
            sums[0] += 1
            sums[2] += change * change
            sums[3] += change > 0
        else:
            after = before + change
            sums[2] += change * (before + after)  # after**2 - before**2
            sums[3] += (after > 0) - (before > 0)
        arrivals, bucket = self._arrivals[key], delay_bucket(delay_ms)
        if bucket >= len(arrivals):
            arrivals += [0] * (bucket + 1 - len(arrivals))
        arrivals[bucket] += 1

    def add_unit_value(
        self, key: tuple[int, int], total: int, count: int, arrivals: Sequence[int]
    ) -> None:
        """Add the values of units; remove them for a negative count.

        Args:
            key: Variant, and tick of the time from which they count.
            total: The value of each, in micro-units.
            count: How many units.
            arrivals: Observations of each, by `delay_bucket`.
        """
        sums = self._values.get(key)
        if sums is None:
            sums = self._values[key] = [0, 0, 0, 0]
            self._arrivals[key] = []
        sums[0] += count
        sums[1] += count * total
        sums[2] += count * total * total
        sums[3] += count * (total > 0)
        known = self._arrivals[key]
        known += [0] * (len(arrivals) - len(known))
        for bucket, each in enumerate(arrivals):
            known[bucket] += count * each

    def freeze(self, known: Mapping[int, ByPeriod]) -> Mapping[int, ByPeriod]:
        """Return the tallies by variant with all additions, aligned to the newest unit."""
        if not self._units and not self._values:
            return known
        new: defaultdict[int, dict[Period, PeriodTally]] = defaultdict(dict)
        for variant, tick in self._units.keys() | self._values.keys():
            key = variant, tick
            with_value, total, total_squared, positive = self._values.get(key, (0, 0, 0, 0))
            new[variant][Period(FINEST_SHIFT, tick)] = PeriodTally(
                self._units.get(key, 0),
                with_value,
                total,
                total_squared,
                positive,
                tuple(self._arrivals.get(key, ())),
            )
        newest = newest_tick([*known.values(), *new.values()])
        return {
            variant: add_periods(known.get(variant, {}), new.get(variant, {}), newest=newest)
            for variant in sorted(known.keys() | new.keys())
        }
