"""Measurement plan: the data of units that are kept besides sums.

Sums of values and of their squares suffice for most metrics without any declaration. Capped values,
products of two metrics and times of assignments cannot be derived from them afterwards: they are
properties of a unit, which is known only while it is folded. A plan is fixed when its experiment is
created, before the first unit, so the tallies stay a function of the log: of `commands` and of the
partition that they count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from streams.model.dimensions import OTHER, Slice
from streams.model.errors import EngineError, EventError, InvalidParameterError, quoted
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO, VALUE_LIMIT
from streams.model.variant_weights import MAX_WEIGHED
from streams.tallies.bins import Bins
from streams.tallies.cohorts import COHORTS_PER_WINDOW
from streams.tallies.linear import triangle

Pair = tuple[str, str]
"""Two metrics in order of their names, of which the sum of the products over the units is kept."""


def pair_of(left: str, right: str) -> Pair:
    """Return the pair of two metrics, given in any order."""
    return (left, right) if left < right else (right, left)


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """Data kept by period of assignment.

    Attributes:
        metric: The metric whose values are kept so, with the units.
        n_variants: Number of its variants. Units with larger indices, of a promoted winner, are
            excluded: they would lengthen the periods of the trial.
    """

    metric: str
    n_variants: int


@dataclass(frozen=True, slots=True)
class AcceptedValues:
    """Accepted single values of a metric; others are refused individually.

    Attributes:
        least, most: Bounds of a value, in micro-units, both included.
        is_whole: Whether a value is a whole number of units of the metric.
    """

    least: int = -VALUE_LIMIT * MICRO
    most: int = VALUE_LIMIT * MICRO
    is_whole: bool = False

    def __contains__(self, value: int) -> bool:
        """Return whether a value, in micro-units, is counted."""
        return self.least <= value <= self.most and not (self.is_whole and value % MICRO)

    def check(self, metric: str, value: int) -> None:
        """Refuse a value, in micro-units, that is not counted.

        Raises:
            EventError: it is outside the bounds (`VALUE_OUT_OF_BOUNDS`), or is not whole
                (`VALUE_NOT_WHOLE`).
        """
        if not self.least <= value <= self.most:
            raise EventError(
                "VALUE_OUT_OF_BOUNDS",
                f"value == {value / MICRO:.12g}, and {quoted(metric)} is declared to have values "
                f"from {self.least / MICRO:.12g} to {self.most / MICRO:.12g}",
                "value",
            )
        if self.is_whole and value % MICRO:
            raise EventError(
                "VALUE_NOT_WHOLE",
                f"value == {value / MICRO:.12g}, and {quoted(metric)} is declared to have whole "
                "values",
                "value",
            )


class TimeSpan(NamedTuple):
    """Time span in which observations count, in ms since their unit counts; ends included."""

    first_ms: int
    last_ms: int


_UNLIMITED_S = 1 << 50

ALWAYS = TimeSpan(0, 1000 * _UNLIMITED_S)
"""Span of a metric without a window and a delay."""


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """Data kept by value of a dimension.

    Attributes:
        sizes: Values of each dimension, with that of all others (`streams.model.dimensions.OTHER`).
        metrics: Metrics that are kept; their values are those between floor and cap.
        pairs: Metrics whose products are kept.
        control: Index of the control: sums by pair are kept of pairs with it alone.
    """

    sizes: tuple[int, ...]
    metrics: frozenset[str]
    pairs: tuple[Pair, ...] = ()
    control: int = 0

    def slices(self, packed: bytes) -> list[Slice]:
        """Return the slices of a unit, one of each dimension.

        Args:
            packed: Its values, as in a receipt; missing or larger ones count as `OTHER`.

        Examples:
            >>> SlicePlan((3, 2, 2), frozenset()).slices(bytes([2, 2]))
            [Slice(dimension=0, value=2), Slice(dimension=1, value=0), Slice(dimension=2, value=0)]
        """
        known = len(packed)
        return [
            Slice(place, packed[place] if place < known and packed[place] < size else OTHER)
            for place, size in enumerate(self.sizes)
        ]


@dataclass(frozen=True)
class Plan:
    """Data kept of one experiment.

    It never changes, so what follows from it is computed once, and not with every batch.

    Attributes:
        caps: Largest value of a unit by metric, in micro-units, > 0: a unit whose observations sum
            to more has this value.
        pairs: Metrics whose products are kept; of the values between floor and cap.
        by_period: Data also kept by period of assignment; None without any.
        floors: Smallest value of a unit by metric, in micro-units: a unit whose observations sum to
            less has this value.
        accepted: Accepted single values by metric; all values of other metrics are accepted.
        declared: Metrics in the definition, which always have a slot in a cell.
        n_variants: Variants of the experiment at its start; 0 if that is not known.
        windows: Conversion window by metric, in seconds, of those that are compared by the units
            whose window is over: the values of a unit within it count, also by cohort. Both metrics
            of a pair have the same one.
        has_covariates: Whether the features of units are covariates of its metrics, and so are kept
            by cohort as well.
        bins: Bins of values, by metric.
        by_exposure: Whether units, their values and their windows count from the first exposure of
            a unit, and not from its assignment.
        limits: Conversion window by metric, in seconds, of those that are compared by all units.
        delays: Seconds before which the values of a unit do not count, by metric.
        slices: Data also kept by value of a dimension; None without any.
        baseline: The one variant of whose pairs sums are kept; None for those of all pairs.
        weighted_covariates: Length of the vectors of covariates under weights that may move, of
            which sums by pair are wanted; 0 for none.

    Raises:
        InvalidParameterError: a cap is not positive or not above its floor, or a pair is not of two
            metrics in order.
    """

    caps: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    by_period: PeriodPlan | None = None
    floors: Mapping[str, int] = field(default_factory=dict)
    accepted: Mapping[str, AcceptedValues] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    n_variants: int = 0
    windows: Mapping[str, int] = field(default_factory=dict)
    has_covariates: bool = False
    bins: Mapping[str, Bins] = field(default_factory=dict)
    by_exposure: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    delays: Mapping[str, int] = field(default_factory=dict)
    slices: SlicePlan | None = None
    baseline: int | None = None
    weighted_covariates: int = 0

    def __post_init__(self) -> None:
        for metric, cap in self.caps.items():
            if cap <= max(0, self.floors.get(metric, 0)):
                raise InvalidParameterError(
                    f"caps[{quoted(metric)}]", cap, "> 0 and above the floor"
                )
        for pair in self.pairs:
            if pair[0] >= pair[1]:
                raise InvalidParameterError("pairs", pair, "of two metrics in order")

    @cached_property
    def n_compared(self) -> int:
        """Number of variants with sums by pair; 0 if they would not fit a cell."""
        return self._fitting(self._kept)

    @cached_property
    def n_binned(self) -> int:
        """Variants among which sums by pair are kept by bin, too; 0 where they would not fit."""
        return self._fitting(self._kept + self._binned)

    @cached_property
    def n_adjusted(self) -> int:
        """Variants among which sums by pair are also kept of covariates; 0 without covariates.

        That is where none are wanted, and where they would not fit.
        """
        if not self.weighted_covariates:
            return 0
        length = self.weighted_covariates
        of_units = (length + triangle(length)) * (1 + _COHORTS * len({*self.windows.values()}))
        of_values = length * sum(map(self._parts, self.declared))
        beside = self._kept + (self._binned if self.n_binned else 0)
        return self._fitting(beside + math.ceil((of_units + of_values) / _SUMS_OF_METRIC))

    @cached_property
    def _kept(self) -> int:
        """Metrics of which sums by pair are kept, those of a cohort on their own."""
        return len(self.pairs) + sum(map(self._parts, self.declared))

    @cached_property
    def _binned(self) -> int:
        """Metrics whose sums by pair would take as much space as those by bin."""
        return math.ceil(
            sum(self._parts(name) * bins.pair_sums for name, bins in self.bins.items())
        )

    def _fitting(self, kept: int) -> int:
        fits = self.n_variants <= MAX_WEIGHED and self.n_variants**2 * kept <= MAX_PAIR_SUMS
        return self.n_variants if fits else 0

    def _parts(self, metric: str) -> int:
        return _COHORTS if metric in self.windows else 1

    @cached_property
    def compared(self) -> Mapping[str, int]:
        """Number of variants with sums by pair, by metric; 0 of a metric that is not here."""
        return dict.fromkeys(self.declared, self.n_compared)

    @property
    def is_sums_alone(self) -> bool:
        """Whether only plain sums of values are kept."""
        return not (
            self.caps
            or self.floors
            or self.accepted
            or self.pairs
            or self.by_period
            or self.windows
            or self.bins
            or self.by_exposure
            or self.limits
            or self.delays
            or self.slices is not None
        )

    def of_slices(self) -> Plan:
        """Return the plan of the sums of one slice.

        Units are counted in it as in the whole, but without the other data.
        """
        assert self.slices is not None  # noqa: S101 - there are no slices without
        return Plan(
            pairs=self.slices.pairs,
            declared=self.slices.metrics,
            n_variants=self.n_variants,
            baseline=self.slices.control,
        )

    @property
    def spans(self) -> dict[str, TimeSpan]:
        """Times at which values count, by metric; any time for a metric that is not here."""
        names = sorted(self.windows.keys() | self.limits.keys() | self.delays.keys())
        return {
            name: TimeSpan(
                1000 * self.delays.get(name, 0),
                1000 * (self.windows.get(name) or self.limits.get(name) or _UNLIMITED_S),
            )
            for name in names
        }


def clamped(total: int, floor: int | None, cap: int | None) -> int:
    """Return the bounded value of a unit whose observations sum to `total`, in micro-units.

    >>> clamped(7, 0, 5), clamped(-7, 0, 5), clamped(-7, None, 5), clamped(7, None, None)
    (5, 0, -7, 7)
    """
    if floor is not None and total < floor:
        return floor
    return total if cap is None or total < cap else cap


MAX_METRICS = 64
"""Metrics of one experiment that are counted in one partition, declared or not."""

MAX_DECLARED = 48
"""Counted metrics that one experiment may declare, so that 16 slots are left for undeclared
ones."""

MAX_PAIR_SUMS = MAX_WEIGHED**2 * MAX_DECLARED
"""Pairs of variants times metrics, of which a cell keeps sums, at most: all declared metrics of
`MAX_WEIGHED` variants, or 10 of 10 variants with a conversion window. At 135 bytes each they leave
more than half of `STATE_BYTES` to the rest."""

_SUMS_OF_METRIC = 5  # by pair

_COHORTS = (
    1 + COHORTS_PER_WINDOW + 3
)  # all units, and cohorts: until one is over, and clocks differ

MAX_EVENTS = 1_000
"""Maximum counted observations of one metric by one assignment. More come from bots; and one
receipt thus takes at most a thousandth of the memory of a partition."""

PLAIN = Plan()
"""Nothing besides the sums; the plan of experiments that were never created."""

PlanOf = Callable[[int], Plan | None]
"""Returns the plan of an experiment, given its 64-bit number; None while it is unknown.

A returned plan never changes.
"""


def plain(experiment: int) -> Plan:
    """Return `PLAIN` for every experiment."""
    del experiment
    return PLAIN


class PlanMissingError(EngineError):
    """A record cannot be folded until the plan of one of its experiments is known.

    Nothing of the record has been counted, and everything before it has.

    Attributes:
        experiment: The experiment as a 64-bit number.
    """

    def __init__(self, experiment: int) -> None:
        name = experiment_id(experiment)
        super().__init__("PLAN_MISSING", f"the plan of {name} is not known yet", "experimentId")
        self.experiment = experiment
