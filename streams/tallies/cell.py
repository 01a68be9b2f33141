"""What is counted: integers that are only ever added.

Every unit counts by itself, with the weight w = 1 / propensity, and with the *overlap weight*
v = 1 - propensity: of two variants, the propensity of the other one.

A *cell* holds what one source partition has told about one experiment, and the offset up to which
it has done so. The newest cells of all partitions, added up, are the *tally* of the experiment.
`join` keeps the newer of two cells and `merge` joins and adds, so lost, doubled or reordered cells
do no harm: a join-semilattice under a commutative monoid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.tallies.linear import add_entries
from streams.tallies.periods import ByPeriod, add_periods, align
from streams.tallies.plan import Pair


class Source(StrEnum):
    """Which stream a cell was folded from."""

    IMPRESSIONS = "impressions"
    OBSERVATIONS = "observations"


@dataclass(frozen=True, slots=True)
class MetricTally:
    """One metric of one variant. The value of a unit is the sum of its observations.

    Attributes:
        units: Units with at least one observation.
        observations: Observations counted.
        total: Sum of the unit values, in micro-units.
        total_squared: Sum of their squares, in micro-units squared.
        weighted_total: Sum of (unit value / propensity); both factors in micro-units.
        weighted_total_squared: Sum of (unit value / propensity) squared; micro-units to the 4th.
        moment: As in `LinearTally`, of the units with features; empty without any.
        overlap_total: Sum of v * unit value; v as a numerator over 2**32, the value in micro-units.
        overlap_cross: Sum of v**2 * unit value; likewise.
        overlap_total_squared: Sum of (v * unit value) squared; likewise.
        weighted_cross: Sum of unit value / propensity squared; micro-units to the 3rd.
        binary_observations: Observations that are 0 or 1.
        positive_units: Units whose value is above 0.
        surplus_weighted_total: What of `weighted_total` is beyond the value 1 of each of them; 0
            unless every observation is 0 or 1.
        surplus_weighted_cross, surplus_overlap_total, surplus_overlap_cross: Likewise.
        positive_moment: Sum of their vectors, in 1 / FEATURE_ONE, as in `moment`.
    """

    units: int = 0
    observations: int = 0
    total: int = 0
    total_squared: int = 0
    weighted_total: int = 0
    weighted_total_squared: int = 0
    moment: tuple[int, ...] = ()
    overlap_total: int = 0
    overlap_cross: int = 0
    overlap_total_squared: int = 0
    weighted_cross: int = 0
    binary_observations: int = 0
    positive_units: int = 0
    surplus_weighted_total: int = 0
    surplus_weighted_cross: int = 0
    surplus_overlap_total: int = 0
    surplus_overlap_cross: int = 0
    positive_moment: tuple[int, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether every observation is 0 or 1."""
        return self.binary_observations == self.observations

    def once(self) -> MetricTally:
        """Return the tally of the same units, each with the value 1 if its own is above 0, else 0.

        It counts the units with at least one observation of 1. For tallies that are `is_binary`.
        """
        weighted_cross = self.weighted_cross - self.surplus_weighted_cross
        overlap_cross = self.overlap_cross - self.surplus_overlap_cross
        return replace(
            self,
            total=MICRO * self.positive_units,
            total_squared=MICRO * MICRO * self.positive_units,
            weighted_total=self.weighted_total - self.surplus_weighted_total,
            weighted_total_squared=MICRO * weighted_cross,  # x**2 = x for 0 and 1
            moment=tuple(MICRO * entry for entry in self.positive_moment),
            overlap_total=self.overlap_total - self.surplus_overlap_total,
            overlap_cross=overlap_cross,
            overlap_total_squared=MICRO * overlap_cross,
            weighted_cross=weighted_cross,
        )

    def __add__(self, other: MetricTally) -> MetricTally:
        # As in one cell with the observations of both.
        is_binary = self.is_binary and other.is_binary
        return MetricTally(
            self.units + other.units,
            self.observations + other.observations,
            self.total + other.total,
            self.total_squared + other.total_squared,
            self.weighted_total + other.weighted_total,
            self.weighted_total_squared + other.weighted_total_squared,
            add_entries(self.moment, other.moment),
            self.overlap_total + other.overlap_total,
            self.overlap_cross + other.overlap_cross,
            self.overlap_total_squared + other.overlap_total_squared,
            self.weighted_cross + other.weighted_cross,
            self.binary_observations + other.binary_observations,
            self.positive_units + other.positive_units,
            self.surplus_weighted_total + other.surplus_weighted_total if is_binary else 0,
            self.surplus_weighted_cross + other.surplus_weighted_cross if is_binary else 0,
            self.surplus_overlap_total + other.surplus_overlap_total if is_binary else 0,
            self.surplus_overlap_cross + other.surplus_overlap_cross if is_binary else 0,
            add_entries(self.positive_moment, other.positive_moment),
        )


@dataclass(frozen=True, slots=True)
class ProductTally:
    """Products of two metrics of one variant, over the units that have both.

    Attributes:
        total: Sum of (unit value of one * unit value of the other), in micro-units squared.
        weighted_total: Sum of the same / propensity squared, in micro-units to the 4th.
        overlap_total: Sum of the same * (1 - propensity) squared; that as a numerator over 2**32.
    """

    total: int = 0
    weighted_total: int = 0
    overlap_total: int = 0

    def __add__(self, other: ProductTally) -> ProductTally:
        return ProductTally(
            self.total + other.total,
            self.weighted_total + other.weighted_total,
            self.overlap_total + other.overlap_total,
        )


@dataclass(frozen=True, slots=True)
class VariantTally:
    """One variant. Cells of impressions hold its units, cells of observations its metrics.

    Attributes:
        units: Units assigned.
        weight: Sum of 1 / propensity over them, in micro-units.
        weight_squared: Sum of (1 / propensity) squared, in micro-units squared.
        metrics: Every metric observed, by name, in order of the names.
        gram: As in `LinearTally`, of the units with features; empty without any.
        overlap: Sum of v over the units, in 1 / 2**32.
        overlap_squared: Sum of v squared, in 1 / 2**64.
        products: Products of the pairs that the plan of the experiment names, in their order.
        periods: Its units by period of assignment, with the metric that the plan names, in order of
            the periods; empty if it names none.
    """

    units: int = 0
    weight: int = 0
    weight_squared: int = 0
    metrics: Mapping[str, MetricTally] = field(default_factory=dict)
    gram: tuple[int, ...] = ()
    overlap: int = 0
    overlap_squared: int = 0
    products: Mapping[Pair, ProductTally] = field(default_factory=dict)
    periods: ByPeriod = field(default_factory=dict)

    def __add__(self, other: VariantTally) -> VariantTally:
        none, no_product = MetricTally(), ProductTally()
        return VariantTally(
            self.units + other.units,
            self.weight + other.weight,
            self.weight_squared + other.weight_squared,
            {
                name: self.metrics.get(name, none) + other.metrics.get(name, none)
                for name in sorted(self.metrics.keys() | other.metrics.keys())
            },
            add_entries(self.gram, other.gram),
            self.overlap + other.overlap,
            self.overlap_squared + other.overlap_squared,
            {
                pair: self.products.get(pair, no_product) + other.products.get(pair, no_product)
                for pair in sorted(self.products.keys() | other.products.keys())
            },
            add_periods(self.periods, other.periods),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """What one source partition has told about one experiment, from its beginning.

    Attributes:
        experiment: The experiment as a 64-bit number.
        source: The stream it was folded from.
        partition: The partition of that stream.
        hw: Offset of the last record that changed it; a record at or below is in it already.
        first_at_ms: Time of the oldest event in it, in milliseconds since the epoch.
        last_at_ms: Time of the newest event in it.
        duplicates: Observations not counted because they had been counted before.
        variants: Tally of every variant seen, by index, in order of the indices.
        unremembered: Events not counted because the memory was too small to tell them from
            repetitions.
        crossed_units: Units assigned to more than one variant.
        most_events: Observations of the unit that has most of one metric, where it has several.
        full_units: Units with so many observations of one metric that further ones do not count;
            once for each metric.
    """

    experiment: int
    source: Source
    partition: int
    hw: int
    first_at_ms: int
    last_at_ms: int
    duplicates: int
    variants: Mapping[int, VariantTally]
    unremembered: int = 0
    crossed_units: int = 0
    most_events: int = 0
    full_units: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What all partitions together have told about one experiment.

    Attributes:
        first_at_ms: Time of the oldest event; 0 without events.
        last_at_ms: Time of the newest event; 0 without events.
        duplicates: Observations not counted because they had been counted before.
        variants: Tally of every variant seen, by index, in order of the indices.
        cells: The cells it is the sum of, in order of source and partition.
        unremembered_units: Assignments not counted because the memory of units was full.
        unremembered: Observations not counted because the memory of events was full.
        crossed_units, most_events, full_units: As in `Cell`.
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


def join(left: Cell, right: Cell) -> Cell:
    """Return the newer of two cells of the same experiment, source and partition.

    It is associative, commutative and idempotent, because a partition has only one history: cells
    of the same place and `hw` are equal.

    Raises:
        InvalidParameterError: the cells are of different places.
    """
    if _place(left) != _place(right):
        raise InvalidParameterError("right", _place(right), f"at {_place(left)!r}")
    return left if left.hw >= right.hw else right


def merge(cells: Iterable[Cell]) -> Tally:
    """Return the sum of the newest cell of every place.

    Args:
        cells: Cells of one experiment in any order; older ones of a place do not count.

    Raises:
        InvalidParameterError: the cells are of different experiments.
    """
    newest: dict[tuple[int, Source, int], Cell] = {}
    for cell in cells:
        place = _place(cell)
        known = newest.get(place)
        newest[place] = cell if known is None else join(known, cell)
    if len({experiment for experiment, _, _ in newest}) > 1:
        raise InvalidParameterError("cells", sorted(newest), "of one experiment")
    if not newest:
        return Tally()
    chosen = tuple(newest[place] for place in sorted(newest))
    return Tally(
        first_at_ms=min(cell.first_at_ms for cell in chosen),
        last_at_ms=max(cell.last_at_ms for cell in chosen),
        duplicates=sum(cell.duplicates for cell in chosen),
        variants=add_variants(*(cell.variants for cell in chosen)),
        cells=chosen,
        unremembered_units=sum(
            cell.unremembered for cell in chosen if cell.source is Source.IMPRESSIONS
        ),
        unremembered=sum(
            cell.unremembered for cell in chosen if cell.source is Source.OBSERVATIONS
        ),
        crossed_units=sum(cell.crossed_units for cell in chosen),
        most_events=max(cell.most_events for cell in chosen),
        full_units=sum(cell.full_units for cell in chosen),
    )


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


def _place(cell: Cell) -> tuple[int, Source, int]:
    return cell.experiment, cell.source, cell.partition
