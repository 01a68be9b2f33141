"""Voided units: removal of all contributions of an assignment.

The window has the contribution of the unit to every metric, and the receipt has the rest. So a unit
is removed exactly, by subtraction in the cell of its observations, including what cells of
impressions hold, since both are added. Later observations of the unit do not count, and a void that
precedes its impression subtracts in advance: tallies do not depend on the order.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.experiments.exposure import WINDOWS_BY_EXPOSURE
from streams.fold.exposed_units import ExposedUnit, ReceiptOfUnit
from streams.fold.hashing import KEY_MASK
from streams.fold.partition import Ledger
from streams.fold.slices import add_to_slices
from streams.fold.window_memory import WindowFullError
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import EventError
from streams.model.vectors import Vector
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance
from streams.tallies.periods import tick_of
from streams.tallies.plan import MAX_EVENTS
from streams.tallies.variant_sums import UnitValue


class VoidedAssignment(NamedTuple):
    """An assignment to remove.

    Attributes:
        offset, timestamp_ms: Of the record.
        reason: Reason of the void.
        chance: Of the assignment.
        vector: Features of the unit; None if it has none.
        identity: Key of the assignment, as in the keys of the window.
        assigned_at_ms, window_s: Of the assignment.
        dimensions: Values of the unit in the dimensions, as in the receipt.
    """

    offset: int
    timestamp_ms: int
    reason: str
    chance: Chance
    vector: Vector | None
    identity: int
    assigned_at_ms: int
    window_s: int
    dimensions: bytes = b""


def void_unit(ledger: Ledger, void: VoidedAssignment) -> bool:
    """Remove a unit from all counts; return False if it was removed before.

    Args:
        ledger: Of its experiment.
        void: The assignment.

    Raises:
        EventError: the assignment is so old that its contribution is no longer known
            (`VOID_TOO_LATE`), or no room is left to record the void (`DEDUPLICATION_WINDOW_FULL`).
    """
    window, builder = ledger.window, ledger.builder
    is_by_exposure = ledger.plan is not None and ledger.plan.by_exposure
    windows = WINDOWS_BY_EXPOSURE if is_by_exposure else 1
    kept_s = windows * void.window_s
    is_folded = void.offset <= builder.folded
    latest_ms = void.timestamp_ms - CLOCK_SKEW_MS
    try:
        is_new = window.void(void.assigned_at_ms, kept_s, void.identity, latest_ms)
    except EventError as error:
        if isinstance(error, WindowFullError) and not is_folded:
            builder.add_unremembered(void.offset)
        if error.code != "DEDUPLICATION_WINDOW_PASSED":
            raise
        message = "the assignment is so old that its observations are no longer remembered"
        raise EventError("VOID_TOO_LATE", message, "assignmentId") from error
    if is_folded:
        return is_new
    if not is_new:
        builder.add_duplicate(void.offset)
        return False
    if is_by_exposure:
        # Impressions advance the clock in the same way.
        builder.add_event(void.offset, min(void.assigned_at_ms, void.timestamp_ms + CLOCK_SKEW_MS))
        receipt = ReceiptOfUnit(
            void.offset,
            latest_ms,
            void.chance,
            void.identity,
            void.assigned_at_ms,
            void.window_s,
            void.vector,
            dimensions=void.dimensions,
        )
        builder.add_void(void.reason, n_full=ExposedUnit(ledger, receipt).take_out())
        return True
    _take_out_unit(ledger, void)
    n_full = 0
    for metric, metric_hash in ledger.metric_hashes.items():
        unit = (void.identity ^ metric_hash) & KEY_MASK
        known = window.observed(void.assigned_at_ms, void.window_s, unit)
        if known is None:
            continue
        n_full += known.observations == MAX_EVENTS
        if ledger.measurement is None:
            key = (*void.chance, metric)
            builder.sums.add_unit_value(key, UnitValue(*known), -1, void.vector)
        else:
            ledger.measurement.take_out(builder, window, void, metric, known)
    builder.add_void(void.reason, n_full=n_full)
    return True


def _take_out_unit(ledger: Ledger, void: VoidedAssignment) -> None:
    builder, plan = ledger.builder, ledger.plan
    offset, chance, at_ms = void.offset, void.chance, void.assigned_at_ms
    seen_ms = min(at_ms, void.timestamp_ms + CLOCK_SKEW_MS)  # as impressions advance the clock
    builder.remove_unit(offset, chance, seen_ms, void.vector)
    if plan is None:
        return
    if plan.slices is not None:
        add_to_slices(builder, [(chance, void.dimensions)], -1)
    variant = chance[0]
    if plan.by_period is not None and variant < plan.by_period.n_variants:
        builder.sums.add_assigned({(variant, tick_of(at_ms)): -1})
    known = void.vector if plan.has_covariates else None
    for window_s in sorted(set(plan.windows.values())):
        builder.cohort(Cohort.of(window_s, at_ms)).remove_unit(chance, known)
