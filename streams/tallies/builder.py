"""A cell in the making: sums that grow with every event and become a cell once per batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType

from streams.domain.quantities import PROPENSITY_ONE, inverse_propensity
from streams.domain.vectors import Vector
from streams.tallies.cell import (
    Cell,
    MetricTally,
    ProductTally,
    Source,
    VariantTally,
    add_variants,
)
from streams.tallies.linear import LinearSums
from streams.tallies.plan import Pair

_NEVER = 1 << 63
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
        "_duplicates",
        "_first_at_ms",
        "_hw",
        "_last_at_ms",
        "_metrics",
        "_place",
        "_products",
        "_rewards",
        "_units",
        "cell",
        "folded",
    )

    _first_at_ms: int
    _last_at_ms: int
    _units: dict[tuple[int, int], int]
    _metrics: dict[tuple[int, int, str], list[int]]
    _contexts: dict[tuple[int, Vector], int]
    _rewards: dict[tuple[int, str, Vector], int]
    _products: dict[tuple[int, int, Pair], int]

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
    ) -> None:
        """Add an observation of the record at `offset`.

        Args:
            offset: Offset of the record.
            key: Variant, propensity and metric.
            before: What the unit's value was before it, in micro-units; None if it had none.
            value: The observation, in micro-units.
            at_ms: Time of the observation.
            vector: Features of the unit; None if it has none.
        """
        self._hw = offset
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0, 0, 0, 0]
        if before is None:
            sums[0] += 1
            sums[3] += value * value
        else:
            sums[3] += value * (2 * before + value)  # (before + value)**2 - before**2
        sums[1] += 1
        sums[2] += value
        if vector is not None:
            variant, _, metric = key
            reward = variant, metric, vector
            self._rewards[reward] = self._rewards.get(reward, 0) + value
        # For every event: a call of min or max costs several times as much.
        if at_ms < self._first_at_ms:  # noqa: PLR1730
            self._first_at_ms = at_ms
        if at_ms > self._last_at_ms:  # noqa: PLR1730
            self._last_at_ms = at_ms

    def add_product(self, key: tuple[int, int, Pair], change: int) -> None:
        """Add to the products of a pair what the observation that was just added changes of them.

        Args:
            key: Variant, propensity and pair.
            change: By how much the unit's product has changed, in micro-units squared.
        """
        self._products[key] = self._products.get(key, 0) + change

    def add_duplicate(self, offset: int) -> None:
        """Count an observation of the record at `offset` that had been counted before."""
        self._hw = offset
        self._duplicates += 1

    def freeze(self) -> Cell | None:
        """Return the cell with all that was added; None if nothing was added since the last one."""
        if self._hw < 0:
            return None
        experiment, source, partition = self._place
        added = self._variants()
        old = self.cell
        if old is not None:
            added = add_variants(old.variants, added)
            self._first_at_ms = min(self._first_at_ms, old.first_at_ms)
            self._last_at_ms = max(self._last_at_ms, old.last_at_ms)
            self._duplicates += old.duplicates
        self.cell = Cell(
            experiment,
            source,
            partition,
            self._hw,
            self._first_at_ms,
            self._last_at_ms,
            self._duplicates,
            added,
        )
        self._reset()
        return self.cell

    def _reset(self) -> None:
        self._hw = -1
        self._first_at_ms = _NEVER
        self._last_at_ms = -_NEVER
        self._duplicates = 0
        self._units = {}
        self._metrics = {}
        self._contexts = {}
        self._rewards = {}
        self._products = {}

    def _variants(self) -> dict[int, VariantTally]:
        units: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for (variant, propensity), count in self._units.items():
            weight = inverse_propensity(propensity)
            totals = units[variant]
            totals[0] += count
            totals[1] += weight * count
            totals[2] += weight * weight * count
        metrics: defaultdict[int, dict[str, list[int]]] = defaultdict(dict)
        for (variant, propensity, name), (n_units, n, total, squared) in self._metrics.items():
            weight = inverse_propensity(propensity)
            totals = metrics[variant].setdefault(name, [0, 0, 0, 0, 0, 0])
            totals[0] += n_units
            totals[1] += n
            totals[2] += total
            totals[3] += squared
            totals[4] += weight * total
            totals[5] += weight * weight * squared
        grams: defaultdict[int, LinearSums] = defaultdict(LinearSums)
        for (variant, vector), count in self._contexts.items():
            grams[variant].add_unit(vector, count)
        moments: defaultdict[tuple[int, str], LinearSums] = defaultdict(LinearSums)
        for (variant, name, vector), value in self._rewards.items():
            moments[variant, name].add_value(vector, value)
        products: defaultdict[int, dict[Pair, ProductTally]] = defaultdict(dict)
        for (variant, propensity, pair), total in self._products.items():
            inverse, overlap = inverse_propensity(propensity), PROPENSITY_ONE - propensity
            known = products[variant].get(pair, ProductTally())
            products[variant][pair] = known + ProductTally(
                total, inverse * inverse * total, overlap * overlap * total
            )
        tallies = {}
        for variant in sorted(units.keys() | metrics.keys()):
            n_units, weights, weights_squared = units[variant]
            named = sorted(metrics[variant].items())
            tallies[variant] = VariantTally(
                n_units,
                weights,
                weights_squared,
                {name: _metric_tally(sums, moments[variant, name]) for name, sums in named},
                grams[variant].freeze().gram,
                dict(sorted(products[variant].items())),
            )
        return tallies


def _metric_tally(sums: list[int], moments: LinearSums) -> MetricTally:
    units, observations, total, squared, weighted, weighted_squared = sums
    moment = moments.freeze().moment
    return MetricTally(units, observations, total, squared, weighted, weighted_squared, moment)
