"""A cell in the making: sums that grow with every event and become a cell once per batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import add, attrgetter
from types import MappingProxyType

from streams.model.quantities import MICRO
from streams.model.vectors import Vector
from streams.tallies.cell import Cell, MetricTally, ProductTally, Source, VariantTally
from streams.tallies.drafts import maker_of
from streams.tallies.linear import LinearSums, add_entries
from streams.tallies.periods import PeriodSums, tick_of
from streams.tallies.plan import Pair
from streams.tallies.weights import unit_weights

_NEVER = 1 << 63
_NO_VARIANTS: Mapping[int, VariantTally] = MappingProxyType({})
_new_metric = maker_of(MetricTally)
_new_variant = maker_of(VariantTally)
_NOBODY = VariantTally()
_NO_VALUES = MetricTally()
_NO_PRODUCT = ProductTally()
_SQUARE = MICRO * MICRO
_BINARIES = (0, MICRO)
_N_SUMS = 6
_UNITS, _FURTHER, _TOTAL, _SQUARED, _POSITIVE, _BINARY = range(_N_SUMS)  # of `_metrics`
_unit_sums = attrgetter("units", "weight", "weight_squared", "overlap", "overlap_squared")
_MOMENTS = frozenset({"moment", "positive_moment"})
_value_sums = attrgetter(*[each.name for each in fields(MetricTally) if each.name not in _MOMENTS])
_NOTHING: Mapping[tuple[int, Vector], int] = MappingProxyType({})


class CellBuilder:
    """Sums over the events since the last cell of one experiment and partition.

    They are kept by propensity, so that the weights, which are the same for all units with the same
    propensity, are multiplied in once per batch: sum(w * x) = w * sum(x), exactly. So are the
    products of features, which are the same for all units of a variant in one context.

    Args:
        experiment: The experiment as a 64-bit number.
        source, partition: Where the events come from.
        cell: The newest cell, from which to go on; None if there is none.

    Attributes:
        folded: Offset up to which events were in `cell` when it was handed over; -1 without one.
        cell: The newest cell; None before the first `freeze`.
    """

    __slots__ = (
        "_contexts",
        "_conversions",
        "_crossed_units",
        "_duplicates",
        "_first_at_ms",
        "_full_units",
        "_hw",
        "_last_at_ms",
        "_metrics",
        "_most_events",
        "_ones",
        "_periods",
        "_place",
        "_products",
        "_rewards",
        "_units",
        "_unremembered",
        "cell",
        "folded",
    )

    _first_at_ms: int
    _last_at_ms: int
    _units: dict[tuple[int, int], int]
    _metrics: dict[tuple[int, int, str], list[int]]
    _ones: dict[tuple[int, int, str], int]  # new units whose first value is 1, as most have
    _contexts: dict[tuple[int, Vector], int]
    _rewards: dict[tuple[int, str, Vector], int]
    _conversions: dict[tuple[int, str, Vector], int]
    _crossed_units: int
    _most_events: int
    _full_units: int
    _unremembered: int
    _products: dict[tuple[int, int, Pair], int]
    _periods: PeriodSums

    def __init__(
        self, experiment: int, source: Source, partition: int, cell: Cell | None = None
    ) -> None:
        self._place = (experiment, source, partition)
        self.cell = cell
        self.folded = -1 if cell is None else cell.hw
        self._reset()

    def add_units(
        self,
        offset: int,
        units: Mapping[tuple[int, int], int],
        first_at_ms: int,
        last_at_ms: int,
        contexts: Mapping[tuple[int, Vector], int] = _NOTHING,
    ) -> None:
        """Add units of the record at `offset`.

        Args:
            offset: Offset of the record.
            units: How many units, by (variant, propensity).
            first_at_ms, last_at_ms: Times of the oldest and the newest of their assignments.
            contexts: How many of them have features, by (variant, vector).
        """
        self._hw = offset
        known = self._units
        for key, count in units.items():
            known[key] = known.get(key, 0) + count
        for context, count in contexts.items():
            self._contexts[context] = self._contexts.get(context, 0) + count
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def add_value(
        self,
        offset: int,
        key: tuple[int, int, str],
        before: int | None,
        value: int,
        at_ms: int,
        vector: Vector | None = None,
        observed: int | None = None,
    ) -> None:
        """Add an observation of the record at `offset`.

        Args:
            offset: Offset of the record.
            key: Variant, propensity and metric.
            before: What the unit's value was before it, in micro-units; None if it had none.
            value: What the observation adds to it, in micro-units.
            at_ms: Time of the observation.
            vector: Features of the unit; None if it has none.
            observed: The observation, where it adds something else.
        """
        self._hw = max(self._hw, offset)  # units counted together may be of later records
        # For every event: a call of min or max costs several times as much.
        if at_ms < self._first_at_ms:  # noqa: PLR1730
            self._first_at_ms = at_ms
        if at_ms > self._last_at_ms:  # noqa: PLR1730
            self._last_at_ms = at_ms
        if observed is None:
            observed = value
        if before is None and value == observed == MICRO and vector is None:
            self._ones[key] = self._ones.get(key, 0) + 1
            return
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0] * _N_SUMS
        if before is None:
            sums[_UNITS] += 1
            sums[_SQUARED] += value * value
            converted = int(value > 0)
        else:
            sums[_FURTHER] += 1
            after = before + value
            sums[_SQUARED] += value * (before + after)  # after**2 - before**2
            converted = (after > 0) - (before > 0)
        if converted:
            sums[_POSITIVE] += converted
        sums[_TOTAL] += value
        if observed == MICRO or not observed:
            sums[_BINARY] += 1
        if vector is not None:
            variant, _, metric = key
            reward = variant, metric, vector
            self._rewards[reward] = self._rewards.get(reward, 0) + value
            self._conversions[reward] = self._conversions.get(reward, 0) + converted

    def add_product(self, key: tuple[int, int, Pair], change: int) -> None:
        """Add to the products of a pair what the observation that was just added changes of them.

        Args:
            key: Variant, propensity and pair.
            change: By how much the unit's product has changed, in micro-units squared.
        """
        self._products[key] = self._products.get(key, 0) + change

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

    def add_first_values(
        self,
        offset: int,
        keys: Sequence[tuple[int, int, str]],
        values: Sequence[int],
        times_ms: Sequence[int],
        observed: Sequence[int] | None = None,
    ) -> None:
        """Add the first observations of units, of records up to the one at `offset`.

        Args:
            offset: Offset of the last record.
            keys: Variant, propensity and metric of each.
            values: What the observations add, in micro-units.
            times_ms: Times of the observations.
            observed: The observations, where they add something else.
        """
        # All of it before any of it is added: what fails must leave nothing behind.
        first_at_ms, last_at_ms = min(times_ms), max(times_ms)
        ones: dict[tuple[int, int, str], int] = {}
        added: dict[tuple[int, int, str], list[int]] = {}
        for key, value in zip(keys, values, strict=True):
            if value == MICRO:  # most are: one number stands for all sums
                ones[key] = ones.get(key, 0) + 1
                continue
            sums = added.get(key)
            if sums is None:
                sums = added[key] = [0] * _N_SUMS
            sums[_UNITS] += 1
            sums[_TOTAL] += value
            sums[_SQUARED] += value * value
            if value > 0:
                sums[_POSITIVE] += 1
            elif not value:
                sums[_BINARY] += 1
        for key, value, each in zip(keys, values, observed or (), strict=False):
            if each != value and (differs := (each in _BINARIES) - (value in _BINARIES)):
                added.setdefault(key, [0] * _N_SUMS)[_BINARY] += differs
        self._hw = max(self._hw, offset)
        if self._ones:
            for key, count in ones.items():
                self._ones[key] = self._ones.get(key, 0) + count
        else:
            self._ones = ones
        known = self._metrics
        for key, sums in added.items():
            before = known.get(key)
            known[key] = sums if before is None else [*map(add, before, sums)]
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def add_duplicate(self, offset: int) -> None:
        """Count an observation of the record at `offset` that had been counted before."""
        self._hw = max(self._hw, offset)
        self._duplicates += 1

    def add_unremembered(self, offset: int, count: int = 1) -> None:
        """Count events of the record at `offset` for which the memory was too small."""
        self._hw = max(self._hw, offset)
        self._unremembered += count

    def add_crossed(self, offset: int, count: int) -> None:
        """Count units that the record at `offset` has in a second variant."""
        self._hw = max(self._hw, offset)
        self._crossed_units += count

    def add_events(self, events: int, *, is_full: bool) -> None:
        """Take note of how many observations of a metric the unit just observed again has.

        Args:
            events: So many.
            is_full: Whether no further ones count.
        """
        self._most_events = max(self._most_events, events)
        self._full_units += is_full

    def freeze(self) -> Cell | None:
        """Return the cell with all that was added; None if nothing was added since the last one."""
        if self._hw < 0:
            return None
        experiment, source, partition = self._place
        variants = self._variants()
        old = self.cell
        if old is not None:
            self._first_at_ms = min(self._first_at_ms, old.first_at_ms)
            self._last_at_ms = max(self._last_at_ms, old.last_at_ms)
            self._duplicates += old.duplicates
            self._unremembered += old.unremembered
            self._crossed_units += old.crossed_units
            self._most_events = max(self._most_events, old.most_events)
            self._full_units += old.full_units
        self.cell = Cell(
            experiment,
            source,
            partition,
            self._hw,
            self._first_at_ms,
            self._last_at_ms,
            self._duplicates,
            variants,
            self._unremembered,
            self._crossed_units,
            self._most_events,
            self._full_units,
        )
        self._reset()
        return self.cell

    def _reset(self) -> None:
        self._hw = -1
        self._first_at_ms = _NEVER
        self._last_at_ms = -_NEVER
        self._duplicates = 0
        self._unremembered = 0
        self._crossed_units = 0
        self._most_events = 0
        self._full_units = 0
        self._units = {}
        self._metrics = {}
        self._ones = {}
        self._contexts = {}
        self._rewards = {}
        self._conversions = {}
        self._products = {}
        self._periods = PeriodSums()

    def _variants(self) -> dict[int, VariantTally]:
        """Return the tallies of the newest cell with all that was added to them."""
        known = _NO_VARIANTS if self.cell is None else self.cell.variants
        units, grams, metrics = self._units_of(known), self._grams_of(known), self._values_of(known)
        products = self._products_of(known)
        periods = self._periods.freeze({variant: old.periods for variant, old in known.items()})
        moved = {
            variant
            for variant, old in known.items()
            if old.periods and periods[variant] != old.periods
        }
        variants = dict(known)
        for variant in units.keys() | metrics.keys() | moved:
            old = known.get(variant, _NOBODY)
            sums = units.get(variant) or _unit_sums(old)
            n_units, weight, weight_squared, overlap, overlap_squared = sums
            named = {**old.metrics, **metrics.get(variant, {})}
            variants[variant] = _new_variant(
                n_units,
                weight,
                weight_squared,
                dict(sorted(named.items())),
                grams.get(variant, old.gram),
                overlap,
                overlap_squared,
                products.get(variant, old.products),
                periods.get(variant, old.periods),
            )
        return dict(sorted(variants.items()))

    def _units_of(self, known: Mapping[int, VariantTally]) -> dict[int, list[int]]:
        """Return the `_unit_sums` of the variants that have new units."""
        units: dict[int, list[int]] = {}
        for (variant, propensity), count in self._units.items():
            inverse, inverse_squared, overlap, overlap_squared = unit_weights(propensity)
            sums = units.get(variant)
            if sums is None:
                sums = units[variant] = list(_unit_sums(known.get(variant, _NOBODY)))
            sums[0] += count
            sums[1] += inverse * count
            sums[2] += inverse_squared * count
            sums[3] += overlap * count
            sums[4] += overlap_squared * count
        return units

    def _values_of(self, known: Mapping[int, VariantTally]) -> dict[int, dict[str, MetricTally]]:
        """Return the metrics that have new values, by variant and name."""
        values = self._sums_of(known)
        moments, positive_moments = _moments(self._rewards), _moments(self._conversions)
        metrics: defaultdict[int, dict[str, MetricTally]] = defaultdict(dict)
        for (variant, name), sums in values.items():
            old = _metric(known, variant, name)
            (
                n_units,
                n,
                total,
                squared,
                weighted,
                weighted_squared,
                overlap_total,
                overlap_cross,
                overlap_squared,
                weighted_cross,
                binary,
                positive,
                surplus_weighted_total,
                surplus_weighted_cross,
                surplus_overlap_total,
                surplus_overlap_cross,
            ) = sums
            if binary != n:
                surplus_weighted_total = surplus_weighted_cross = 0
                surplus_overlap_total = surplus_overlap_cross = 0
            metrics[variant][name] = _new_metric(
                n_units,
                n,
                total,
                squared,
                weighted,
                weighted_squared,
                add_entries(old.moment, moments[variant, name])
                if (variant, name) in moments
                else old.moment,
                overlap_total,
                overlap_cross,
                overlap_squared,
                weighted_cross,
                binary,
                positive,
                surplus_weighted_total,
                surplus_weighted_cross,
                surplus_overlap_total,
                surplus_overlap_cross,
                add_entries(old.positive_moment, positive_moments[variant, name])
                if (variant, name) in positive_moments
                else old.positive_moment,
            )
        return metrics

    def _sums_of(self, known: Mapping[int, VariantTally]) -> dict[tuple[int, str], list[int]]:
        """Return the `_value_sums` of the metrics that have new values, by variant and name."""
        values: dict[tuple[int, str], list[int]] = {}
        for (variant, propensity, name), found in self._metrics.items():
            n_units, further, total, squared, positive, binary = found
            n = n_units + further
            inverse, inverse_squared, overlap, overlap_squared = unit_weights(propensity)
            sums = values.get((variant, name))
            if sums is None:
                sums = values[variant, name] = list(_value_sums(_metric(known, variant, name)))
            sums[0] += n_units
            sums[1] += n
            sums[2] += total
            sums[3] += squared
            sums[4] += inverse * total
            sums[5] += inverse_squared * squared
            sums[6] += overlap * total
            sums[7] += overlap_squared * total
            sums[8] += overlap_squared * squared
            sums[9] += inverse_squared * total
            sums[10] += binary
            sums[11] += positive
            surplus = total - positive * MICRO
            if surplus and binary == n:  # what is not binary has no such sums in the end
                sums[12] += inverse * surplus
                sums[13] += inverse_squared * surplus
                sums[14] += overlap * surplus
                sums[15] += overlap_squared * surplus
        for (variant, name), weights in self._weights_of_ones().items():
            n, inverse, inverse_squared, overlap, overlap_squared = weights
            sums = values.get((variant, name))
            if sums is None:
                sums = values[variant, name] = list(_value_sums(_metric(known, variant, name)))
            sums[0] += n
            sums[1] += n
            sums[2] += n * MICRO
            sums[3] += n * _SQUARE
            sums[4] += inverse * MICRO
            sums[5] += inverse_squared * _SQUARE
            sums[6] += overlap * MICRO
            sums[7] += overlap_squared * MICRO
            sums[8] += overlap_squared * _SQUARE
            sums[9] += inverse_squared * MICRO
            sums[10] += n
            sums[11] += n
        return values

    def _weights_of_ones(self) -> dict[tuple[int, str], list[int]]:
        """Return the number and the sums of `unit_weights` of `_ones`, by variant and metric."""
        weights: dict[tuple[int, str], list[int]] = {}
        for (variant, propensity, name), n in self._ones.items():
            inverse, inverse_squared, overlap, overlap_squared = unit_weights(propensity)
            sums = weights.get((variant, name))
            if sums is None:
                sums = weights[variant, name] = [0, 0, 0, 0, 0]
            sums[0] += n
            sums[1] += inverse * n
            sums[2] += inverse_squared * n
            sums[3] += overlap * n
            sums[4] += overlap_squared * n
        return weights

    def _products_of(
        self, known: Mapping[int, VariantTally]
    ) -> dict[int, dict[Pair, ProductTally]]:
        """Return the products of the variants that have new ones, in order of their pairs."""
        products: dict[int, dict[Pair, ProductTally]] = {}
        for (variant, propensity, pair), total in self._products.items():
            _, inverse_squared, _, overlap_squared = unit_weights(propensity)
            sums = products.get(variant)
            if sums is None:
                sums = products[variant] = dict(known.get(variant, _NOBODY).products)
            sums[pair] = sums.get(pair, _NO_PRODUCT) + ProductTally(
                total, inverse_squared * total, overlap_squared * total
            )
        return {variant: dict(sorted(sums.items())) for variant, sums in products.items()}

    def _grams_of(self, known: Mapping[int, VariantTally]) -> dict[int, tuple[int, ...]]:
        """Return the matrices of the variants that have new units with features."""
        grams: defaultdict[int, LinearSums] = defaultdict(LinearSums)
        for (variant, vector), count in self._contexts.items():
            grams[variant].add_unit(vector, count)
        return {
            variant: add_entries(known.get(variant, _NOBODY).gram, sums.freeze().gram)
            for variant, sums in grams.items()
        }


def _moments(
    values: Mapping[tuple[int, str, Vector], int],
) -> dict[tuple[int, str], tuple[int, ...]]:
    """Return the sums of vector times value, by variant and metric."""
    moments: defaultdict[tuple[int, str], LinearSums] = defaultdict(LinearSums)
    for (variant, name, vector), value in values.items():
        moments[variant, name].add_value(vector, value)
    return {key: sums.freeze().moment for key, sums in moments.items()}


def _metric(known: Mapping[int, VariantTally], variant: int, name: str) -> MetricTally:
    return known.get(variant, _NOBODY).metrics.get(name, _NO_VALUES)
