"""Tallies at each place of a log, as units and observations arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.model.vectors import INTERCEPT, Vector
from streams.replay.off_policy.logged import IntArray, UnitLog
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.fields import Chance
from streams.tallies.merging import merge
from streams.tallies.periods import tick_of
from streams.tallies.plan import Plan, clamped


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Units that come one after the other.

    Attributes:
        units: Which units, ascending.
        news: Observations that became known since the batch before: all are of units before these,
            and of a time up to that of the first of these.
    """

    units: IntArray
    news: IntArray


def batches(log: UnitLog, size: int) -> Iterator[Batch]:
    """Yield the log in batches of units.

    An observation can be older than its assignment, where clocks differ; still it comes after it.

    Args:
        log: The units.
        size: Units of a batch, >= 1.

    Raises:
        InvalidParameterError: `size` is not positive.
    """
    if size < 1:
        raise InvalidParameterError("size", size, ">= 1")
    begins = log.assigned_at_ms[::size]
    known_from = np.maximum(
        log.observed_units // size + 1, np.searchsorted(begins, log.observed_at_ms)
    )
    order = np.argsort(known_from, kind="stable")
    ends = np.searchsorted(known_from[order], np.arange(len(begins)), side="right").tolist()
    observed = 0
    for batch, end in enumerate(ends):
        units = np.arange(batch * size, min((batch + 1) * size, log.n_units))
        yield Batch(units, order[observed:end])
        observed = end


class PartialTally:
    """A tally in the making, in the builders that workers use.

    Args:
        log: Where units and observations are from.
        propensities: Of the units of the log, numerators over 2**32; read when a unit is added.
    """

    def __init__(self, log: UnitLog, propensities: IntArray) -> None:
        self._log = log
        self._propensities = propensities
        plan = Plan(declared=frozenset({log.metric}), n_variants=log.n_arms)
        self._assigned = CellBuilder(0, Source.IMPRESSIONS, 0, plan=plan)
        self._observed = CellBuilder(0, Source.OBSERVATIONS, 0, plan=plan)
        self._values: dict[int, int] = {}
        self._step = 0

    def assign(self, units: IntArray) -> None:
        """Add units."""
        if not len(units):
            return
        variants = self._log.variants[units].tolist()
        propensities = self._propensities[units].tolist()
        counts = Counter(zip(variants, propensities, repeat(b"")))
        times = self._log.assigned_at_ms[units]
        contexts: Counter[tuple[Chance, Vector]] = Counter()
        if self._log.has_features:
            vectors = map(self._log.vector, units.tolist())
            chances = zip(variants, propensities, repeat(b""))
            contexts = Counter(zip(chances, vectors, strict=True))
        self._assigned.add_units(self._next(), counts, int(times[0]), int(times[-1]), contexts)
        if self._log.by_period:
            ticks = map(tick_of, times.tolist())
            self._assigned.sums.add_assigned(Counter(zip(variants, ticks, strict=True)))

    def observe(self, observations: IntArray) -> None:
        """Add observations of units that were added."""
        log = self._log
        units = log.observed_units[observations]
        rows = zip(
            units.tolist(),
            log.variants[units].tolist(),
            self._propensities[units].tolist(),
            log.observed_values[observations].tolist(),
            log.assigned_at_ms[units].tolist(),
            log.observed_at_ms[observations].tolist(),
            strict=True,
        )
        for unit, variant, propensity, value, assigned_at_ms, at_ms in rows:
            before = self._values.get(unit)
            total = self._values[unit] = value + (before or 0)
            bounded = None if before is None else clamped(before, log.floor, log.cap)
            change = clamped(total, log.floor, log.cap) - (bounded or 0)
            key = variant, propensity, b"", log.metric
            vector = log.vector(unit)
            known = None if vector == INTERCEPT else vector  # as a receipt without features
            self._observed.add_value(self._next(), key, bounded, change, at_ms, known, value)
            if log.by_period:
                self._observed.sums.add_period_value(
                    variant, bounded, change, assigned_at_ms, at_ms
                )

    def tally(self) -> Tally:
        """Return the sum of all that was added."""
        self._assigned.freeze()
        self._observed.freeze()
        cells = (self._assigned.cell, self._observed.cell)
        return merge(cell for cell in cells if cell is not None)

    def _next(self) -> int:
        self._step += 1
        return self._step
