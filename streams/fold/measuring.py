"""Counting of observations by plan: bounded, by period, and with products of two metrics.

Each change is the difference between the contributions of the unit after and before an event. So
the sums depend only on the final state of the units, not on the order of events.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.fold.deduplication import DeduplicationWindow, ObservedUnit
from streams.fold.hashing import KEY_MASK
from streams.model.quantities import MICRO
from streams.model.vectors import Vector
from streams.tallies.builder import CellBuilder
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance
from streams.tallies.freezing import MetricKey
from streams.tallies.periods import delay_bucket
from streams.tallies.plan import Pair, Plan, clamped
from streams.tallies.variant_sums import UnitValue, VariantSums


class CountedObservation(NamedTuple):
    """An observation that counts.

    Attributes:
        offset: Offset of its record.
        key: Chance and metric.
        before: What the unit's observations of the metric summed to before it, in micro-units; None
            for the first one.
        value: The observation, in micro-units.
        at_ms: Time of the observation.
        vector: Features of the unit; None if it has none.
        identity: Key of the assignment, as in the keys of the window.
        assigned_at_ms, window_s: Of the assignment.
        dimensions: Values of the unit in the dimensions, as in the receipt.
    """

    offset: int
    key: MetricKey
    before: int | None
    value: int
    at_ms: int
    vector: Vector | None
    identity: int
    assigned_at_ms: int
    window_s: int
    dimensions: bytes


class RemovedAssignment(Protocol):
    """An assignment whose unit is removed."""

    @property
    def chance(self) -> Chance:
        """Chance of the assignment."""

    @property
    def vector(self) -> Vector | None:
        """Features of the unit; None if it has none."""

    @property
    def identity(self) -> int:
        """Identity of the assignment, as in the keys of the window."""

    @property
    def assigned_at_ms(self) -> int:
        """Time of the assignment."""

    @property
    def window_s(self) -> int:
        """Attribution window."""

    @property
    def dimensions(self) -> bytes:
        """Values of the unit in the dimensions, as in the receipt."""


@dataclass(frozen=True, slots=True)
class _Partner:
    """The other metric of a pair: its name, its hash in the keys of the window, and the pair."""

    metric: str
    metric_hash: int
    pair: Pair


class Measurement:
    """Counts observations of one experiment by its plan.

    Args:
        plan: The plan.
        metric_hashes: Hash of every metric of its pairs and of the one it keeps by period, as in
            the keys of the window.

    Attributes:
        windows: Conversion window by metric, in seconds, of those that are counted by cohort, too.
        spans: When observations count, by metric; others are excluded earlier.
        has_slices: Whether units are also counted by the values of their dimensions.
    """

    __slots__ = (
        "_accepted",
        "_bins",
        "_bounds",
        "_by_period",
        "_has_covariates",
        "_pairs",
        "_partners",
        "_period_hash",
        "_sliced",
        "_sliced_pairs",
        "has_slices",
        "spans",
        "windows",
    )

    def __init__(self, plan: Plan, metric_hashes: Mapping[str, int]) -> None:
        self._bounds = {
            metric: (plan.floors.get(metric), plan.caps.get(metric))
            for metric in plan.floors.keys() | plan.caps.keys()
        }
        self._accepted = plan.accepted
        self._bins = plan.bins
        self._by_period = plan.by_period
        self._period_hash = 0 if plan.by_period is None else metric_hashes[plan.by_period.metric]
        self.windows = plan.windows
        self.spans = plan.spans
        self._has_covariates = plan.has_covariates
        self.has_slices = plan.slices is not None
        self._sliced = frozenset() if plan.slices is None else plan.slices.metrics
        self._sliced_pairs = frozenset(() if plan.slices is None else plan.slices.pairs)
        self._pairs = plan.pairs
        self._partners: defaultdict[str, list[_Partner]] = defaultdict(list)
        for pair in plan.pairs:
            for own, other in (pair, pair[::-1]):
                self._partners[own].append(_Partner(other, metric_hashes[other], pair))

    def check(self, metric: str, value: int) -> None:
        """Refuse a single value, in micro-units, that the metric is declared not to have.

        Raises:
            EventError: as `Accepted.check`.
        """
        accepted = self._accepted.get(metric)
        if accepted is not None and value not in accepted:
            accepted.check(metric, value)

    def are_single(self, metrics: Iterable[str]) -> bool:
        """Return whether a first value of these metrics changes only their sums."""
        kept = None if self._by_period is None else self._by_period.metric
        return not any(metric == kept or metric in self._partners for metric in metrics)

    def refused(self, metrics: Sequence[str], values: Sequence[int]) -> list[int]:
        """Return the places of single values that `check` would refuse."""
        if not self._accepted:
            return []
        accepted = self._accepted
        return [
            place
            for place, (metric, value) in enumerate(zip(metrics, values, strict=True))
            if metric in accepted and value not in accepted[metric]
        ]

    def bounded(self, metrics: Sequence[str], values: list[int]) -> list[int]:
        """Return the bounded values of units with a single observation."""
        if not self._bounds:
            return values
        return [self._bounded(metric, value) for metric, value in zip(metrics, values, strict=True)]

    def add_first_values(
        self,
        builder: CellBuilder,
        offset: int,
        keys: Sequence[MetricKey],
        values: Sequence[int],
        times_ms: Sequence[int],
        observed: Sequence[int],
        assigned_at_ms: Sequence[int],
        dimensions: Sequence[bytes] = (),
    ) -> None:
        """Add the first observations of units to a cell, to its cohorts and to its slices.

        Args:
            builder: The cell.
            offset, keys, values, times_ms, observed: As in `CellBuilder.add_first_values`.
            assigned_at_ms: Times of the assignments.
            dimensions: Values of the units in the dimensions; empty without any.
        """
        is_same = values is observed
        builder.add_first_values(offset, keys, values, times_ms, None if is_same else observed)
        self._bin(builder.sums, keys, values)
        by_values: defaultdict[bytes, list[int]] = defaultdict(list)
        for row, packed in enumerate(dimensions):
            if keys[row][-1] in self._sliced:
                by_values[packed].append(row)
        for packed, rows in by_values.items():
            columns = [[column[row] for row in rows] for column in (values, observed)]
            of_values = [keys[row] for row in rows]
            for sums in builder.slices(packed):
                sums.add_first_values(of_values, *columns)
        if not self.windows:
            return
        by_cohort: defaultdict[Cohort, list[int]] = defaultdict(list)
        for row, (key, at_ms) in enumerate(zip(keys, assigned_at_ms, strict=True)):
            window_s = self.windows.get(key[-1])
            if window_s is not None:
                by_cohort[Cohort.of(window_s, at_ms)].append(row)
        for cohort, rows in by_cohort.items():
            sums, of_cohort = builder.cohort(cohort), [keys[row] for row in rows]
            bounded = [values[row] for row in rows]
            sums.add_first_values(of_cohort, bounded, [observed[row] for row in rows])
            self._bin(sums, of_cohort, bounded)

    def _bin(self, sums: VariantSums, keys: Sequence[MetricKey], values: Sequence[int]) -> None:
        """Add the first values of units to the bins of their metrics."""
        if self._bins:
            for key, value in zip(keys, values, strict=True):
                bins = self._bins.get(key[-1])
                if bins is not None:
                    sums.add_binned(key, None, value, bins)

    def _bounded(self, metric: str, total: int) -> int:
        bounds = self._bounds.get(metric)
        return total if bounds is None else clamped(total, *bounds)

    def partners_of(self, metric: str) -> list[tuple[str, int]]:
        """Return the metrics of which products with this one are kept, with their hashes."""
        return [(each.metric, each.metric_hash) for each in self._partners.get(metric, ())]

    def unit_value(self, metric: str, values: Sequence[int]) -> UnitValue | None:
        """Return the contribution of a unit with these observations; None without any."""
        if not values:
            return None
        binary = sum(not value or value == MICRO for value in values)
        return UnitValue(self._bounded(metric, sum(values)), len(values), binary)

    def put(
        self,
        builder: CellBuilder,
        key: MetricKey,
        value: UnitValue,
        count: int,
        begun_at_ms: int,
        delays_ms: Sequence[int],
        vector: Vector | None,
        dimensions: bytes,
    ) -> None:
        """Add the contribution of a unit to a metric; remove it for a negative count.

        Args:
            builder: The cell.
            key: Chance and metric.
            value: Contribution of the unit.
            count: 1 or -1.
            begun_at_ms: Time from which it counts.
            delays_ms: Time of each of its observations since then.
            vector: Features of the unit; None if it has none.
            dimensions: Values of the unit in the dimensions, as in the receipt.
        """
        variant, metric = key[0], key[-1]
        builder.sums.add_unit_value(key, value, count, vector)
        for sums in self._slices(builder, metric, dimensions):
            sums.add_unit_value(key, value, count)
        counting = [builder.sums]
        window_s = self.windows.get(metric)
        if window_s is not None:
            cohort = builder.cohort(Cohort.of(window_s, begun_at_ms))
            cohort.add_unit_value(key, value, count, vector if self._has_covariates else None)
            counting.append(cohort)
        bins = self._bins.get(metric)
        if bins is not None:
            for each in counting:
                each.add_to_bin(key, count, value.total, bins)
        periods = self._by_period
        if periods is not None and metric == periods.metric and variant < periods.n_variants:
            arrivals = _by_bucket(map(delay_bucket, delays_ms))
            builder.sums.add_period_unit(variant, value.total, count, begun_at_ms, arrivals)

    def put_products(
        self,
        builder: CellBuilder,
        chance: Chance,
        values: Mapping[str, int],
        count: int,
        begun_at_ms: int,
        metric: str | None,
        dimensions: bytes,
    ) -> None:
        """Add the products of the contributions of a unit; remove them for a negative count.

        Args:
            builder: The cell.
            chance: Chance of the unit.
            values: Its values in micro-units, by metric.
            count: 1 or -1.
            begun_at_ms: Time from which it counts.
            metric: Only pairs with this metric; None for all.
            dimensions: Values of the unit in the dimensions, as in the receipt.
        """
        for pair in self._pairs:
            if not values.keys() >= set(pair) or metric not in {None, *pair}:
                continue
            x, y = (values[name] for name in pair)
            changes = count * x * y, count * x * x * y, count * x * y * y
            counting = [builder.sums, *self._slices_of_pair(builder, pair, dimensions)]
            window_s = self.windows.get(pair[0])
            if window_s is not None:
                counting.append(builder.cohort(Cohort.of(window_s, begun_at_ms)))
            for each in counting:
                each.add_product((*chance, pair), changes)

    def remember(
        self,
        window: DeduplicationWindow,
        variant: int,
        metric: str,
        identity: int,
        assigned_at_ms: int,
        window_s: int,
        at_ms: int,
    ) -> None:
        """Store the data of an observation that a void of its unit needs besides its value.

        Args:
            window: Contains the observation already.
            variant, metric: Of the observation.
            identity, assigned_at_ms, window_s, at_ms: As in `CountedObservation`.
        """
        periods = self._by_period
        if periods is not None and metric == periods.metric and variant < periods.n_variants:
            unit = (identity ^ self._period_hash) & KEY_MASK
            delay = delay_bucket(at_ms - assigned_at_ms)
            window.add_arrival(assigned_at_ms, window_s, unit, delay)

    def count(
        self, builder: CellBuilder, window: DeduplicationWindow, counted: CountedObservation
    ) -> None:
        """Add an observation to a cell.

        Args:
            builder: The cell.
            window: Contains the observation already.
            counted: The observation.
        """
        variant, propensity, weights, metric = counted.key
        before = counted.before
        known, change = before or 0, counted.value
        bounds = self._bounds.get(metric)
        if bounds is not None:
            floor, cap = bounds
            bounded = clamped(known + change, floor, cap)
            known = 0 if before is None else clamped(known, floor, cap)
            change = bounded - known
        first = None if before is None else known
        builder.add_value(
            counted.offset, counted.key, first, change, counted.at_ms, counted.vector, counted.value
        )
        counting = [builder.sums]
        window_s = self.windows.get(metric)
        if window_s is not None:
            cohort = builder.cohort(Cohort.of(window_s, counted.assigned_at_ms))
            vector = counted.vector if self._has_covariates else None
            cohort.add_value(counted.key, first, change, vector, counted.value)
            counting.append(cohort)
        bins = self._bins.get(metric)
        if bins is not None:
            for each in counting:
                each.add_binned(counted.key, first, change, bins)
        for sums in self._slices(builder, metric, counted.dimensions):
            sums.add_value(counted.key, first, change, None, counted.value)
        periods = self._by_period
        if periods is not None and metric == periods.metric and variant < periods.n_variants:
            builder.sums.add_period_value(
                variant, first, change, counted.assigned_at_ms, counted.at_ms
            )
        for partner in self._partners.get(metric, ()):
            total = window.total(
                counted.assigned_at_ms,
                counted.window_s,
                (counted.identity ^ partner.metric_hash) & KEY_MASK,
            )
            if total is not None:
                value = self._bounded(partner.metric, total)
                after = known + change
                squares = (after * after - known * known) * value, change * value * value
                if metric != partner.pair[0]:
                    squares = squares[::-1]
                key = variant, propensity, weights, partner.pair
                of_pair = self._slices_of_pair(builder, partner.pair, counted.dimensions)
                for each in (*counting, *of_pair):
                    each.add_product(key, (change * value, *squares))

    def _slices(self, builder: CellBuilder, metric: str, dimensions: bytes) -> list[VariantSums]:
        """Return the slices that a unit is counted in for a metric."""
        return builder.slices(dimensions) if metric in self._sliced else []

    def _slices_of_pair(
        self, builder: CellBuilder, pair: Pair, dimensions: bytes
    ) -> list[VariantSums]:
        """Return the slices that a unit is counted in for the product of two metrics."""
        return builder.slices(dimensions) if pair in self._sliced_pairs else []

    def take_out(
        self,
        builder: CellBuilder,
        window: DeduplicationWindow,
        unit: RemovedAssignment,
        metric: str,
        known: ObservedUnit,
    ) -> None:
        """Remove the contribution of a unit to a metric from a cell.

        Args:
            builder: The cell.
            window: Has the values of the unit for the other metrics.
            unit: The unit.
            metric: The metric.
            known: Counted observations of the unit.
        """
        variant = unit.chance[0]
        key = (*unit.chance, metric)
        value = self._bounded(metric, known.total)
        counted = UnitValue(value, known.observations, known.binary)
        builder.sums.add_unit_value(key, counted, -1, unit.vector)
        for sums in self._slices(builder, metric, unit.dimensions):
            sums.add_unit_value(key, counted, -1)
        counting = [builder.sums]
        window_s = self.windows.get(metric)
        if window_s is not None:
            cohort = builder.cohort(Cohort.of(window_s, unit.assigned_at_ms))
            vector = unit.vector if self._has_covariates else None
            cohort.add_unit_value(key, counted, -1, vector)
            counting.append(cohort)
        bins = self._bins.get(metric)
        if bins is not None:
            for each in counting:
                each.add_to_bin(key, -1, value, bins)
        periods = self._by_period
        if periods is not None and metric == periods.metric and variant < periods.n_variants:
            place = (unit.identity ^ self._period_hash) & KEY_MASK
            arrivals = window.arrivals(unit.assigned_at_ms, unit.window_s, place)
            builder.sums.add_period_unit(variant, value, -1, unit.assigned_at_ms, arrivals)
        for partner in self._partners.get(metric, ()):
            if metric != partner.pair[0]:
                continue  # removed with the first metric of the pair
            other = window.total(
                unit.assigned_at_ms,
                unit.window_s,
                (unit.identity ^ partner.metric_hash) & KEY_MASK,
            )
            if other is not None:
                x, y = value, self._bounded(partner.metric, other)
                of_pair = self._slices_of_pair(builder, partner.pair, unit.dimensions)
                for each in (*counting, *of_pair):
                    each.add_product((*unit.chance, partner.pair), (-x * y, -x * x * y, -x * y * y))


def _by_bucket(buckets: Iterable[int]) -> list[int]:
    """Return the number in each bucket."""
    counts = Counter(buckets)
    return [counts[bucket] for bucket in range(max(counts, default=-1) + 1)]
