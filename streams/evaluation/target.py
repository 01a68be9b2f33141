"""The policy that is asked about, replayed over the log: its weights when each unit came.

It learns as a live one does: after every batch of units it is given the tally of all units before
and of their observations by then, and `allocate` gives the weights of the next batch. What it
learns from is this log, so the question is what its choices would have earned with the knowledge
that the log gave, not with the knowledge it would have bought itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.domain.errors import InvalidParameterError
from streams.domain.quantities import ALLOCATION_TOTAL, MICRO
from streams.evaluation.logged import IntArray, UnitLog
from streams.experiments.lifecycle import Experiment
from streams.experiments.report import evaluate
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import MetricTally, Source, Tally, VariantTally, merge

FloatArray = NDArray[np.float64]

MIN_BATCH = 100
"""Units between two allocations, at least: Thompson sampling loses nothing measurable by it."""

MAX_BATCHES = 2_000
"""Allocations of a whole log, at most, unless told otherwise: two or three seconds."""

WEIGHT_TOLERANCE = 1e-6

Weigh = Callable[[Tally], Sequence[float]]
"""Gives the shares of the variants, which sum to 1, for a tally."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A policy as it would have gone through the log, batch by batch.

    Attributes:
        batches: Batch of each unit; shape (n,), ascending from 0.
        shares: Share of each variant in a batch; shape (n_batches, n_arms), rows sum to 1.
        model: Mean value of each variant by what was known before; shape (n_batches, n_arms).
    """

    batches: IntArray
    shares: FloatArray
    model: FloatArray

    def of_assigned(self, variants: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return share and predicted value of the variant that each unit was assigned."""
        return self.shares[self.batches, variants], self.model[self.batches, variants]

    @property
    def expected(self) -> FloatArray:
        """Predicted value of each unit under the target; shape (n,)."""
        by_batch: FloatArray = (self.shares * self.model).sum(axis=1)
        return by_batch[self.batches]

    @property
    def mean_shares(self) -> FloatArray:
        """Mean share of each variant over the units; shape (n_arms,)."""
        sizes = np.bincount(self.batches, minlength=len(self.shares))
        total: FloatArray = (self.shares * sizes[:, None]).sum(axis=0)
        return total / float(len(self.batches))


def batch_size(n_units: int) -> int:
    """Return how many units come between two allocations unless told otherwise.

    >>> batch_size(10_000), batch_size(1_000_000)
    (100, 500)
    """
    return max(MIN_BATCH, -(-n_units // MAX_BATCHES))


def fixed(weights: Sequence[float]) -> Weigh:
    """Return the policy that always gives these shares.

    Args:
        weights: >= 0, sum to 1.

    Raises:
        InvalidParameterError: they are not.
    """
    total = sum(weights)
    if not weights or min(weights) < 0.0 or not abs(total - 1.0) <= WEIGHT_TOLERANCE:
        raise InvalidParameterError("weights", tuple(weights), ">= 0 and sum to 1")
    shares = tuple(weight / total for weight in weights)
    return lambda _: shares


def policy_of(experiment: Experiment) -> Weigh:
    """Return the policy of an experiment, as its worker runs it."""
    if not experiment.definition.config.parameters.adaptive:
        return fixed(_shares(experiment, Tally()))
    return lambda tally: _shares(experiment, tally)


def replayed(
    log: UnitLog, weigh: Weigh, size: int, advance: Callable[[int], None] = lambda _: None
) -> Target:
    """Return a policy as it would have gone through the log.

    Args:
        log: The units; at least one.
        weigh: The policy.
        size: Units of a batch, >= 1.
        advance: Told how many units have been passed since the last call.

    Raises:
        InvalidParameterError: `size` is not positive.
    """
    shares, model = [], []
    for n_units, tally in tallies(log, size):
        shares.append(weigh(tally))
        model.append(_means(tally, log.metric, log.n_arms))
        advance(n_units)
    return Target(np.arange(log.n_units) // size, np.array(shares), np.array(model))


def tallies(log: UnitLog, size: int) -> Iterator[tuple[int, Tally]]:
    """Yield the units of each batch, and the tally when its first unit came.

    In the tally are the units of the batches before, and their observations up to the time of that
    unit. An observation can be older than its assignment, where clocks differ, and is never in the
    tally before it.

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
    progress = _Progress(log)
    observed = 0
    for batch, end in enumerate(ends):
        progress.observe(order[observed:end])
        observed = end
        start, stop = batch * size, min((batch + 1) * size, log.n_units)
        yield stop - start, progress.tally()
        progress.assign(slice(start, stop))


class _Progress:
    """Cells that grow as the log goes on, in the builders that workers use."""

    def __init__(self, log: UnitLog) -> None:
        self._log = log
        self._assigned = CellBuilder(0, Source.IMPRESSIONS, 0)
        self._observed = CellBuilder(0, Source.OBSERVATIONS, 0)
        self._values: dict[int, int] = {}
        self._step = 0

    def assign(self, units: slice) -> None:
        """Add units."""
        log = self._log
        counts = Counter(
            zip(log.variants[units].tolist(), log.propensities[units].tolist(), strict=True)
        )
        times = log.assigned_at_ms[units]
        self._assigned.add_units(self._next(), counts, int(times[0]), int(times[-1]))

    def observe(self, observations: IntArray) -> None:
        """Add observations of units that were added."""
        log = self._log
        units = log.observed_units[observations]
        rows = zip(
            units.tolist(),
            log.variants[units].tolist(),
            log.propensities[units].tolist(),
            log.observed_values[observations].tolist(),
            log.observed_at_ms[observations].tolist(),
            strict=True,
        )
        for unit, variant, propensity, value, at_ms in rows:
            before = self._values.get(unit)
            key = variant, propensity, log.metric
            self._observed.add_value(self._next(), key, before, value, at_ms)
            self._values[unit] = value + (before or 0)

    def tally(self) -> Tally:
        """Return the sum of all that was added."""
        self._assigned.freeze()
        self._observed.freeze()
        cells = (self._assigned.cell, self._observed.cell)
        return merge(cell for cell in cells if cell is not None)

    def _next(self) -> int:
        self._step += 1
        return self._step


def _shares(experiment: Experiment, tally: Tally) -> tuple[float, ...]:
    weights = evaluate(experiment, tally, ()).allocation.weights
    return tuple(weight / ALLOCATION_TOTAL for weight in weights)


def _means(tally: Tally, metric: str, n_arms: int) -> list[float]:
    """Return the mean of each variant, with one unit more at the mean of all."""
    variants = [tally.variants.get(arm, VariantTally()) for arm in range(n_arms)]
    totals = [variant.metrics.get(metric, MetricTally()).total / MICRO for variant in variants]
    units = [variant.units for variant in variants]
    overall = sum(totals) / max(1, sum(units))
    return [(total + overall) / (n + 1) for total, n in zip(totals, units, strict=True)]
