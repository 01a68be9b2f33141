"""Builder of tallies of variants: sums that grow with every event, added once per batch.

They are kept by chance (`streams.tallies.freezing`), and units with features by vector
(`streams.tallies.vector_sums`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import add
from types import MappingProxyType
from typing import NamedTuple

from streams.model.quantities import MICRO
from streams.model.vectors import Vector
from streams.tallies.bins import Bins, bin_of
from streams.tallies.cell import VARIANT_FIELDS, VariantTally
from streams.tallies.fields import Chance
from streams.tallies.freezing import (
    BINARY,
    CUBED,
    FURTHER,
    N_BIN_SUMS,
    N_PRODUCTS,
    N_SUMS,
    POSITIVE,
    SQUARED,
    TOTAL,
    UNITS,
    BinKey,
    MetricKey,
    ProductKey,
    bin_tallies,
    excluded_units,
    metric_tallies,
    offered_units,
    product_tallies,
    unit_sums,
)
from streams.tallies.periods import PeriodSums, tick_of
from streams.tallies.plan import Plan
from streams.tallies.vector_sums import VectorSums

_NOBODY = VariantTally()
_BINARIES = (0, MICRO)
NO_CONTEXTS: Mapping[tuple[Chance, Vector], int] = MappingProxyType({})
"""Contexts of units without features."""


class UnitValue(NamedTuple):
    """Contribution of a unit to a metric.

    Attributes:
        total: Its value in micro-units, between floor and cap.
        observations: Observations that it is the sum of, at least one.
        binary: Those that are 0 or 1.
    """

    total: int
    observations: int
    binary: int


class VariantSums:
    """Sums over the events of all variants since the last `freeze`.

    Args:
        plan: Says of which metrics sums by pair are kept, and among how many variants.

    Attributes:
        plan: As given; to be set before the first event is added.
    """

    __slots__ = (
        "_assigned",
        "_bins",
        "_metrics",
        "_ones",
        "_periods",
        "_products",
        "_units",
        "_vectors",
        "plan",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._units: Counter[Chance] = Counter()
        self._metrics: dict[MetricKey, list[int]] = {}
        # New units whose first value is 1, as most have.
        self._ones: Counter[MetricKey] = Counter()
        self._vectors = VectorSums()
        self._products: dict[ProductKey, list[int]] = {}
        self._periods = PeriodSums()
        self._bins: dict[BinKey, list[int]] = {}
        self._assigned: dict[int, int] = {}

    def add_units(
        self,
        units: Mapping[Chance, int],
        contexts: Mapping[tuple[Chance, Vector], int] = NO_CONTEXTS,
    ) -> None:
        """Add units; remove them for a negative number.

        Args:
            units: How many units, by chance.
            contexts: How many of them have features, by chance and vector.
        """
        known = self._units
        for key, count in units.items():
            known[key] = known.get(key, 0) + count
        for context, count in contexts.items():
            self.add_contexts((context,), count)

    def add_chances(self, chances: Iterable[Chance]) -> None:
        """Add one unit for each of these chances."""
        self._units.update(chances)

    def add_contexts(self, units: Iterable[tuple[Chance, Vector]], count: int = 1) -> None:
        """Add the features of units that are added.

        Args:
            units: Chance and vector of each of those that have features.
            count: How many units each of them stands for.
        """
        self._vectors.add_units(units, count, self.plan)

    def remove_unit(self, chance: Chance, vector: Vector | None = None) -> None:
        """Remove a unit.

        Args:
            chance: Chance of the unit.
            vector: Its features, if they were counted; None without features.
        """
        self.add_units({chance: -1}, {} if vector is None else {(chance, vector): -1})

    def add_assigned_units(self, units: Mapping[int, int]) -> None:
        """Add units that were assigned, and count once they are exposed.

        Args:
            units: Number of units by variant; negative to remove them.
        """
        for variant, count in units.items():
            self._assigned[variant] = self._assigned.get(variant, 0) + count

    def add_value(
        self,
        key: MetricKey,
        before: int | None,
        value: int,
        vector: Vector | None = None,
        observed: int | None = None,
    ) -> None:
        """Add an observation.

        Args:
            key: Chance and metric.
            before: What the unit's value was before it, in micro-units; None if it had none.
            value: What the observation adds to it, in micro-units.
            vector: Features of the unit; None if it has none.
            observed: The observation, where it adds something else.
        """
        if observed is None:
            observed = value
        if before is None and value == observed == MICRO and vector is None:
            self._ones[key] = self._ones.get(key, 0) + 1
            return
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0] * N_SUMS
        if before is None:
            sums[UNITS] += 1
            square = value * value
            sums[SQUARED] += square
            sums[CUBED] += square * value
            converted = int(value > 0)
        else:
            sums[FURTHER] += 1
            after = before + value
            square, known_square = after * after, before * before
            sums[SQUARED] += square - known_square
            sums[CUBED] += square * after - known_square * before
            converted = (after > 0) - (before > 0)
        if converted:
            sums[POSITIVE] += converted
        sums[TOTAL] += value
        if observed == MICRO or not observed:
            sums[BINARY] += 1
        if vector is not None:
            self._vectors.add_value(key, vector, value, converted, self.plan)

    def add_first_values(
        self,
        keys: Sequence[MetricKey],
        values: Sequence[int],
        observed: Sequence[int] | None = None,
    ) -> None:
        """Add the first observations of units.

        Args:
            keys: Chance and metric of each.
            values: What the observations add, in micro-units.
            observed: The observations, where they add something else.
        """
        # Compute everything before adding anything: a failure must leave no trace.
        added: dict[MetricKey, list[int]] = {}
        for key, value in zip(keys, values, strict=True):
            if value == MICRO:
                continue
            sums = added.get(key)
            if sums is None:
                sums = added[key] = [0] * N_SUMS
            sums[UNITS] += 1
            sums[TOTAL] += value
            square = value * value
            sums[SQUARED] += square
            sums[CUBED] += square * value
            if value > 0:
                sums[POSITIVE] += 1
            elif not value:
                sums[BINARY] += 1
        for key, value, each in zip(keys, values, observed or (), strict=False):
            if each != value and (differs := (each in _BINARIES) - (value in _BINARIES)):
                added.setdefault(key, [0] * N_SUMS)[BINARY] += differs
        # Most are: one number stands for all sums.
        self._ones.update([key for key, value in zip(keys, values, strict=True) if value == MICRO])
        known = self._metrics
        for key, sums in added.items():
            before = known.get(key)
            known[key] = sums if before is None else [*map(add, before, sums)]

    def add_unit_value(
        self, key: MetricKey, value: UnitValue, count: int, vector: Vector | None = None
    ) -> None:
        """Add the contribution of units to a metric; remove it for a negative count.

        Args:
            key: Chance and metric.
            value: The value of each of the units.
            count: How many units.
            vector: Their features; None if they have none.
        """
        total = value.total
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0] * N_SUMS
        square = total * total
        converted = count if total > 0 else 0
        sums[UNITS] += count
        sums[FURTHER] += count * (value.observations - 1)
        sums[TOTAL] += count * total
        sums[SQUARED] += count * square
        sums[CUBED] += count * square * total
        sums[POSITIVE] += converted
        sums[BINARY] += count * value.binary
        if vector is not None:
            self._vectors.add_value(key, vector, count * total, converted, self.plan)

    def add_metric(self, key: MetricKey) -> None:
        """Include a metric in the cell, even before any observation of it counts."""
        self._metrics.setdefault(key, [0] * N_SUMS)

    def add_product(self, key: ProductKey, changes: Sequence[int]) -> None:
        """Add to the products of a pair what the observation that was just added changes of them.

        Args:
            key: Chance and pair.
            changes: By how much x * y of the unit has changed, in micro-units squared, and x**2 * y
                and x * y**2, in micro-units cubed.
        """
        known = self._products.get(key) or [0] * N_PRODUCTS
        self._products[key] = [*map(add, known, changes)]

    def add_binned(self, key: MetricKey, before: int | None, value: int, bins: Bins) -> None:
        """Add to the bins of a metric the observation that was just added.

        Args:
            key: Chance and metric.
            before, value: As in `add_value`.
            bins: What is kept of the metric.
        """
        if before is not None:
            self.add_to_bin(key, -1, before, bins)
        self.add_to_bin(key, 1, (before or 0) + value, bins)

    def add_to_bin(self, key: MetricKey, count: int, value: int, bins: Bins) -> None:
        """Add units of a value to the bins of a metric; remove them for a negative count.

        Args:
            key: Chance and metric.
            count: How many units.
            value: The value of each, in micro-units.
            bins: What is kept of the metric.
        """
        place = (*key, bin_of(value, bins.precision))
        sums = self._bins.get(place)
        if sums is None:
            sums = self._bins[place] = [0] * N_BIN_SUMS
        sums[0] += count
        if bins.has_values:
            square = value * value
            sums[1] += count * value
            sums[2] += count * square
            sums[3] += count * square * value

    def add_assigned(self, counts: Mapping[tuple[int, int], int]) -> None:
        """Add to the periods the units that were just added.

        Args:
            counts: How many units, by variant and `tick_of` their assignment.
        """
        self._periods.add_units(counts)

    def add_period_value(
        self, variant: int, before: int | None, value: int, assigned_at_ms: int, at_ms: int
    ) -> None:
        """Add to the periods the observation that was just added.

        Args:
            variant: Index of the variant.
            before, value, at_ms: As in `add_value`.
            assigned_at_ms: Time of the assignment.
        """
        key = variant, tick_of(assigned_at_ms)
        self._periods.add_value(key, before, value, at_ms - assigned_at_ms)

    def add_period_unit(
        self, variant: int, total: int, count: int, begun_at_ms: int, arrivals: Sequence[int]
    ) -> None:
        """Add the contribution of units to the periods; remove it for a negative count.

        Args:
            variant: Index of the variant.
            total: The value of each of the units, in micro-units.
            count: How many units.
            begun_at_ms: Time from which they count.
            arrivals: Observations of each, by `delay_bucket`.
        """
        self._periods.add_unit_value((variant, tick_of(begun_at_ms)), total, count, arrivals)

    def excluded(self) -> tuple[int, ...]:
        """Return the number of units excluded from each variant, as `excluded_units`."""
        return excluded_units(self._units, self.plan.n_variants)

    def offered(self) -> tuple[int, ...]:
        """Return the number of units offered to each added variant, as `offered_units`."""
        return offered_units(self._units, self.plan.n_variants)

    def freeze(self, known: Mapping[int, VariantTally]) -> dict[int, VariantTally]:
        """Return tallies of variants with all that was added to them.

        Args:
            known: The tallies so far, by variant.
        """
        plan = self.plan
        units = unit_sums(self._units, known, plan)
        vectors = self._vectors.freeze(known, plan)
        metrics = metric_tallies(
            self._metrics,
            self._ones,
            vectors.moments,
            vectors.positive_moments,
            vectors.overlap_moments,
            known,
            plan,
        )
        products = product_tallies(self._products, known, plan)
        bins = bin_tallies(self._bins, known, plan)
        before = {variant: old.periods for variant, old in known.items()}
        periods = self._periods.freeze(before)
        moved = (
            set()
            if periods is before
            else {variant for variant, each in before.items() if each and periods[variant] != each}
        )
        variants = dict(known)
        for variant in units.keys() | metrics.keys() | moved | self._assigned.keys():
            old = known.get(variant, _NOBODY)
            variants[variant] = VARIANT_FIELDS.new(
                *(units.get(variant) or VARIANT_FIELDS.values(old)),
                vectors.grams.get(variant, old.gram),
                *vectors.covariates.get(variant, (old.overlap_features, old.overlap_gram)),
                dict(sorted({**old.metrics, **metrics[variant]}.items()))
                if variant in metrics
                else old.metrics,
                products.get(variant, old.products),
                periods.get(variant, old.periods),
                bins.get(variant, old.bins),
                old.assigned + self._assigned.get(variant, 0),
            )
        return dict(sorted(variants.items()))
