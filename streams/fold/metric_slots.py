"""Slots for metrics: the limit of metrics per experiment and partition.

A declared metric always has its slot. An undeclared metric takes a free slot with its first counted
observation, and the memory of the partition keeps the assignment of that observation.
"""

from __future__ import annotations

from collections.abc import Collection

from streams.fold.hashing import KEY_MASK, hash_of
from streams.fold.partition import Ledger
from streams.model.errors import EventError, quoted
from streams.tallies.plan import MAX_METRICS

PHASES = 3
"""Phases of an experiment (`promotion_state.Phase`); a variant has an index in each."""

MAX_CELL_METRICS = 8_192
"""Metrics of all variants in all phases that a cell may have before one that is not declared is
refused: with 350 bytes for each of them a cell fits its topic."""

MAX_OPENED = 8
"""Undeclared metrics that one assignment may introduce, so that no single receipt can exhaust the
slots."""


def check_slot(ledger: Ledger, metric: str, identity: int) -> None:
    """Refuse a metric that is neither declared nor counted yet, if there is no slot for it.

    Raises:
        EventError: all slots are taken, or the assignment has introduced as many metrics as it may
            (`TOO_MANY_METRICS`).
    """
    slots = slots_of(0 if ledger.plan is None else ledger.plan.n_variants)
    if len(ledger.metric_hashes) >= slots:
        raise EventError(
            "TOO_MANY_METRICS",
            f"the experiment has {len(ledger.metric_hashes)} metrics, at most {slots} with those "
            f"that are not declared, and {quoted(metric)} is not one of them",
            "metric",
        )
    if list(ledger.openers.values()).count(identity & KEY_MASK) >= MAX_OPENED:
        raise EventError(
            "TOO_MANY_METRICS",
            f"{quoted(metric)} is not declared, and this assignment was the first with "
            f"{MAX_OPENED} such metrics",
            "metric",
        )


def have_slots(ledger: Ledger, metrics: Collection[str]) -> bool:
    """Return whether these new metrics get slots regardless of order and assignment."""
    return not metrics or len(ledger.metric_hashes) + len(metrics) <= MAX_OPENED


def take_slot(ledger: Ledger, metric: str, identity: int) -> None:
    """Assign a slot to an undeclared metric, for a counted observation."""
    metric_hash = ledger.metric_hashes[metric] = hash_of(metric)
    ledger.openers[metric] = identity & KEY_MASK
    ledger.window.mark(metric_hash, identity & KEY_MASK)


def recall_slots(ledger: Ledger) -> None:
    """Restore which metrics have slots, once the cell and the window of a ledger are restored.

    A cell may be ahead of the progress, while the window is not: so slots are assigned again, in
    the same order as before.
    """
    cell = ledger.builder.cell
    tallies = () if cell is None else cell.variants.values()
    for metric in sorted({metric for tally in tallies for metric in tally.metrics}):
        metric_hash = hash_of(metric)
        opener = ledger.window.marked(metric_hash)
        if opener is not None:
            ledger.metric_hashes[metric] = metric_hash
            ledger.openers[metric] = opener


def slots_of(n_variants: int) -> int:
    """Return the number of metric slots of an experiment.

    >>> slots_of(2), slots_of(42), slots_of(256), slots_of(0)
    (64, 64, 10, 64)
    """
    if not n_variants:
        return MAX_METRICS
    return min(MAX_METRICS, MAX_CELL_METRICS // (PHASES * n_variants))
