"""Tallies: integers that are only ever added.

Every unit counts separately, with the weight w = 1 / propensity, and, in the comparison of its
variant with each other one, with the *overlap weight* v of the pair, for which the weights of all
variants at its assignment must be known (`streams.model.variant_weights`).

A *cell* holds the tally of one experiment from one source partition, and the offset up to which
it has done so. The newest cells of all partitions, added up (`streams.tallies.merging`), are the
*tally* of the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from operator import add
from typing import Any

from streams.model.dimensions import Slice
from streams.model.quantities import MICRO
from streams.tallies.bins import ByBin, add_bins
from streams.tallies.cohorts import ByCohort
from streams.tallies.fields import (
    ADD,
    MERGE,
    FieldTable,
    Statistic,
    Weight,
    add_named,
    entries,
    summed,
)
from streams.tallies.heavy_units import HeavyUnit
from streams.tallies.linear import add_entries
from streams.tallies.pair_sums import unpack_pairs
from streams.tallies.periods import ByPeriod, add_periods, align
from streams.tallies.plan import Pair

NO_EVENT_MS = 1 << 62
"""Time of the oldest event of a cell that has none: later than any."""


class Source(StrEnum):
    """Source stream of a cell."""

    IMPRESSIONS = "impressions"
    OBSERVATIONS = "observations"


@dataclass(frozen=True, slots=True)
class MetricTally:
    """One metric of one variant. The value x of a unit is the sum of its observations.

    Attributes:
        units: Units with at least one observation.
        observations: Observations counted.
        total: Sum of x, in micro-units.
        total_squared: Sum of x**2, in micro-units squared.
        weighted_total: Sum of w * x; both factors in micro-units.
        weighted_total_squared: Sum of (w * x)**2; micro-units to the 4th.
        overlap_total: By the other variant of a pair, sum of v * x; v as a numerator over 2**32, x
            in micro-units; 0 unless the metric is declared (`streams.tallies.pair_sums`).
        overlap_cross: Sum of v**2 * x; likewise.
        overlap_total_squared: Sum of (v * x)**2; likewise.
        weighted_cross: Sum of w**2 * x; micro-units to the 3rd.
        binary_observations: Observations that are 0 or 1.
        positive_units: Units with x > 0.
        surplus_weighted_total: Part of `weighted_total` in excess of the value 1 of each of these
        units. surplus_weighted_cross, surplus_overlap_total, surplus_overlap_cross: Likewise.
        total_cubed: Sum of x**3, in micro-units cubed.
        moment: As in `LinearTally`, of the units with features; empty without any.
        positive_moment: Sum of the vectors of units with x > 0, in 1 / FEATURE_ONE, as in `moment`.
        overlap_moment: By the other variant of a pair, sum of v**2 times vector times x, v in
            1 / 2**32, as in `moment`; empty unless `Plan.n_adjusted`.
    """

    units: int = summed(Statistic.UNITS)
    observations: int = summed(Statistic.OBSERVATIONS)
    total: int = summed(Statistic.VALUE)
    total_squared: int = summed(Statistic.SQUARE)
    weighted_total: int = summed(Statistic.VALUE, Weight.INVERSE)
    weighted_total_squared: int = summed(Statistic.SQUARE, Weight.INVERSE_SQUARED)
    overlap_total: int = summed(Statistic.VALUE, Weight.OVERLAP)
    overlap_cross: int = summed(Statistic.VALUE, Weight.OVERLAP_SQUARED)
    overlap_total_squared: int = summed(Statistic.SQUARE, Weight.OVERLAP_SQUARED)
    weighted_cross: int = summed(Statistic.VALUE, Weight.INVERSE_SQUARED)
    binary_observations: int = summed(Statistic.BINARY)
    positive_units: int = summed(Statistic.POSITIVE)
    surplus_weighted_total: int = summed(Statistic.SURPLUS, Weight.INVERSE)
    surplus_weighted_cross: int = summed(Statistic.SURPLUS, Weight.INVERSE_SQUARED)
    surplus_overlap_total: int = summed(Statistic.SURPLUS, Weight.OVERLAP)
    surplus_overlap_cross: int = summed(Statistic.SURPLUS, Weight.OVERLAP_SQUARED)
    total_cubed: int = summed(Statistic.CUBE)
    moment: tuple[int, ...] = entries()
    positive_moment: tuple[int, ...] = entries()
    overlap_moment: tuple[int, ...] = entries(are_by_pair=True)

    @property
    def is_binary(self) -> bool:
        """Whether every observation is 0 or 1."""
        return self.binary_observations == self.observations

    def once(self) -> MetricTally:
        """Return the tally of the same units, each with the value 1 if x > 0, else 0.

        It counts the units with at least one observation of 1. For tallies that are `is_binary`.
        """
        sums = METRIC_FIELDS.by_use(self)
        sums[Statistic.SURPLUS, Weight.ONE] = self.total - MICRO * self.positive_units

        def value(weight: Weight) -> int:
            return sums[Statistic.VALUE, weight] - sums[Statistic.SURPLUS, weight]

        changed: dict[str, Any] = {
            each.name: MICRO ** (_POWERS[each.statistic] - 1) * value(each.weight)
            for each in METRIC_FIELDS.sums  # x**2 = x**3 = x for 0 and 1
            if each.statistic in _POWERS
        }
        moment = tuple(MICRO * entry for entry in self.positive_moment)
        return replace(self, moment=moment, overlap_moment=(), **changed)

    def __add__(self, other: MetricTally) -> MetricTally:
        return METRIC_FIELDS.new(*METRIC_FIELDS.added(self, other))


METRIC_FIELDS = FieldTable(MetricTally)
_POWERS = {Statistic.VALUE: 1, Statistic.SQUARE: 2, Statistic.CUBE: 3}


@dataclass(frozen=True, slots=True)
class ProductTally:
    """Products of two metrics of one variant, over the units that have both.

    Attributes:
        total: Sum of x * y, x and y being a unit's values, in micro-units squared.
        weighted_total: Sum of w**2 * x * y, in micro-units to the 4th.
        overlap_total: By the other variant of a pair, sum of v**2 * x * y; v as a numerator over
            2**32.
        first_squared: Sum of x**2 * y, in micro-units cubed.
        second_squared: Sum of x * y**2, likewise.
    """

    total: int = summed(Statistic.VALUE)
    weighted_total: int = summed(Statistic.VALUE, Weight.INVERSE_SQUARED)
    overlap_total: int = summed(Statistic.VALUE, Weight.OVERLAP_SQUARED)
    first_squared: int = summed(Statistic.SQUARE)
    second_squared: int = summed(Statistic.CUBE)

    def exchanged(self) -> ProductTally:
        """Return the products of y and x."""
        return replace(self, first_squared=self.second_squared, second_squared=self.first_squared)

    def __add__(self, other: ProductTally) -> ProductTally:
        return PRODUCT_FIELDS.new(*PRODUCT_FIELDS.added(self, other))


PRODUCT_FIELDS = FieldTable(ProductTally)


@dataclass(frozen=True, slots=True)
class VariantTally:
    """One variant. Cells of impressions hold its units, cells of observations its metrics.

    Where units count once they are exposed, cells of observations hold both.

    Attributes:
        units: Units assigned, or exposed.
        weight: Sum of w over them, in micro-units.
        weight_squared: Sum of w**2, in micro-units squared.
        overlap: By the other variant of a pair, sum of v over them, in 1 / 2**32; that of the
            variant itself is half the units whose weights are known.
        overlap_squared: Sum of v**2, in 1 / 2**64.
        gram: As in `LinearTally`, of the units with features; empty without any.
        overlap_features: By the other variant of a pair, sum of v times vector, v in 1 / 2**32 and
            entries of the vector in 1 / FEATURE_ONE; empty unless `Plan.n_adjusted`.
        overlap_gram: Sum of v**2 times vector times its transpose, as in `gram`; likewise.
        metrics: Every metric observed, by name, in order of the names.
        products: Products of the pairs that the plan of the experiment names, in their order.
        periods: Its units by period of assignment, with the metric that the plan names, in order of
            the periods; empty if it names none.
        bins: Its units by the size of their value, of the metrics that the plan names, by name.
        assigned: Units assigned, where units count once they are exposed (`Plan.by_exposure`); 0
            where they count with their assignment.
    """

    units: int = summed(Statistic.UNITS)
    weight: int = summed(Statistic.UNITS, Weight.INVERSE)
    weight_squared: int = summed(Statistic.UNITS, Weight.INVERSE_SQUARED)
    overlap: int = summed(Statistic.UNITS, Weight.OVERLAP)
    overlap_squared: int = summed(Statistic.UNITS, Weight.OVERLAP_SQUARED)
    gram: tuple[int, ...] = entries()
    overlap_features: tuple[int, ...] = entries(are_by_pair=True)
    overlap_gram: tuple[int, ...] = entries(are_by_pair=True)
    metrics: Mapping[str, MetricTally] = field(default_factory=dict, metadata={ADD: add_named})
    products: Mapping[Pair, ProductTally] = field(default_factory=dict, metadata={ADD: add_named})
    periods: ByPeriod = field(default_factory=dict, metadata={ADD: add_periods})
    bins: Mapping[str, ByBin] = field(default_factory=dict, metadata={ADD: add_bins})
    assigned: int = field(default=0, metadata={ADD: add})

    @property
    def is_consistent(self) -> bool:
        """Whether no sum over its units is negative.

        Impressions and voids arrive in different topics: if a unit is voided before it is counted,
        some sums over the units are temporarily too small. As units differ in their weights, any of
        the sums may be negative while the others are not.
        """
        by_pair = (*unpack_pairs(self.overlap), *unpack_pairs(self.overlap_squared))
        return min(self.units, self.weight, self.weight_squared, *by_pair) >= 0

    def __add__(self, other: VariantTally) -> VariantTally:
        return VARIANT_FIELDS.new(*VARIANT_FIELDS.added(self, other))


VARIANT_FIELDS = FieldTable(VariantTally)


@dataclass(frozen=True, slots=True)
class SliceTally:
    """Units that have one value of one dimension.

    Attributes:
        variants: Their tallies by variant, in order of the indices, only of the metrics that are
            broken down.
        excluded, offered: As in `Cell`.
    """

    variants: Mapping[int, VariantTally] = field(default_factory=dict)
    excluded: tuple[int, ...] = ()
    offered: tuple[int, ...] = ()

    def __add__(self, other: SliceTally) -> SliceTally:
        return SliceTally(
            add_variants(self.variants, other.variants),
            add_entries(self.excluded, other.excluded),
            add_entries(self.offered, other.offered),
        )


BySlice = Mapping[Slice, SliceTally]
"""Units by value of a dimension, in order of dimension and value."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Tally of one experiment from one source partition, from its beginning.

    Attributes:
        experiment: The experiment as a 64-bit number.
        source: The stream it was folded from.
        partition: The partition of that stream.
        last_offset: Offset of the last record that changed it; all records up to it are in it.
        first_at_ms: Time of the oldest event in it, in milliseconds since the epoch; `NO_EVENT_MS`
            without one.
        last_at_ms: Time of the newest event in it; 0 without one.
        duplicates: Observations not counted because they had been counted before.
        variants: Tally of every variant seen, by index, in order of the indices.
        unremembered: Events not counted because the memory was too small to distinguish them from
            duplicates.
        crossed_units: Units assigned to more than one variant.
        most_events: Largest number of observations of one metric by one unit, if it has several.
        full_units: Units at the limit of observations of one metric; counted once for each metric.
        late: Observations that came after the conversion window of their metric, and do not count.
        early: Observations that came before the conversion delay of their metric, and do not count.
        excluded: By the index of a variant, units that could not be assigned to it, as it was not
            eligible or had the weight 0; what is beyond the last entry is 0.
        offered: By the index of a variant that was added since the start of the experiment, units
            that could be assigned to it; 0 for those of the start.
        unexposed: Observations from before the first exposure of their unit, or of a unit without
            one, which do not count; 0 where units count with their assignment.
        cohorts: Variants by cohort, of the metrics that have a conversion window; empty unless the
            plan names any.
        voids: Units that were voided by reason, in order of the reasons. They and their values are
            subtracted from all else, in cells of observations, so sums may be negative there.
        heavy: Units with the most observations of one metric, the most first; only those with many.
        outside: Requests that did not take part by reason, in order of the reasons.
        slices: Units by value of a dimension; of each dimension their sums are those of all units.
            Empty unless the plan names any.
    """

    experiment: int
    source: Source
    partition: int
    last_offset: int
    first_at_ms: int = field(metadata={MERGE: min})
    last_at_ms: int = field(metadata={MERGE: max})
    duplicates: int = field(metadata={MERGE: add})
    variants: Mapping[int, VariantTally]
    unremembered: int = field(default=0, metadata={MERGE: add})
    crossed_units: int = field(default=0, metadata={MERGE: add})
    most_events: int = field(default=0, metadata={MERGE: max})
    full_units: int = field(default=0, metadata={MERGE: add})
    late: int = field(default=0, metadata={MERGE: add})
    early: int = field(default=0, metadata={MERGE: add})
    excluded: tuple[int, ...] = field(default=(), metadata={MERGE: add_entries})
    offered: tuple[int, ...] = field(default=(), metadata={MERGE: add_entries})
    unexposed: int = field(default=0, metadata={MERGE: add})
    cohorts: ByCohort[Mapping[int, VariantTally]] = field(default_factory=dict)
    voids: Mapping[str, int] = field(default_factory=dict)
    heavy: tuple[HeavyUnit, ...] = ()
    outside: Mapping[str, int] = field(default_factory=dict)
    slices: BySlice = field(default_factory=dict)


CELL_COUNTS = {each.name: each.metadata[MERGE] for each in fields(Cell) if MERGE in each.metadata}
"""Operation that merges two counts of cells, by name: `min`, `max`, `add` or `add_entries`."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Tally of one experiment from all partitions.

    Attributes:
        first_at_ms: Time of the oldest event; 0 without events.
        last_at_ms: Time of the newest event; 0 without events.
        duplicates: Observations not counted because they had been counted before.
        variants: Tally of every variant seen, by index, in order of the indices.
        cells: The cells it is the sum of, in order of source and partition.
        unremembered_units: Assignments not counted because the memory of units was full.
        unremembered: Observations not counted because the memory of events was full.
        crossed_units, most_events, full_units, late, early, excluded, offered, unexposed: As in
            `Cell`.
        mature: Tally of every variant of the units whose conversion window is over, by window in
            seconds.
        voids, outside, slices: As in `Cell`.
        heavy: As in `Cell`, of all cells.
    """

    first_at_ms: int = 0
    last_at_ms: int = 0
    duplicates: int = 0
    variants: Mapping[int, VariantTally] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    unremembered_units: int = 0
    unremembered: int = 0
    crossed_units: int = 0
    most_events: int = 0
    full_units: int = 0
    late: int = 0
    early: int = 0
    excluded: tuple[int, ...] = ()
    offered: tuple[int, ...] = ()
    unexposed: int = 0
    mature: Mapping[int, Mapping[int, VariantTally]] = field(default_factory=dict)
    voids: Mapping[str, int] = field(default_factory=dict)
    heavy: tuple[HeavyUnit, ...] = ()
    outside: Mapping[str, int] = field(default_factory=dict)
    slices: BySlice = field(default_factory=dict)


def add_variants(*tallies: Mapping[int, VariantTally]) -> dict[int, VariantTally]:
    """Return the sum of tallies by variant index, in order of the indices."""
    total: dict[int, VariantTally] = {}
    for variants in tallies:
        for index, tally in variants.items():
            known = total.get(index)
            total[index] = tally if known is None else known + tally
    aligned = align({index: tally.periods for index, tally in total.items()})
    return {
        index: replace(tally, periods=aligned[index]) if tally.periods else tally
        for index, tally in sorted(total.items())
    }


def add_counts(left: Mapping[str, int], right: Mapping[str, int]) -> Mapping[str, int]:
    """Return the sums of counts by name, in order of the names."""
    if not left or not right:
        return dict(sorted((left or right).items()))
    return {name: left.get(name, 0) + right.get(name, 0) for name in sorted({**left, **right})}


def add_slices(left: BySlice, right: BySlice) -> BySlice:
    """Return the sums of tallies by slice, in order of dimension and value."""
    if not left or not right:
        return left or right
    return add_named(left, right)
