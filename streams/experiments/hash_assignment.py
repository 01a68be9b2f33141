"""Decisions that depend only on a request and the hash of its unit, not on earlier assignments.

The API and the assigners in other processes decide by the same function. The order is: ignored id,
override, holdout, targeting, layer, enrollment, allocation among the eligible variants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from streams.experiments.admission import Exclusion, HeldOutRequest, kept_out
from streams.experiments.assignment import Assigner, Assignment
from streams.experiments.assignment_reason import Reason
from streams.experiments.eligible_variants import EligibleSet
from streams.experiments.holdouts import Holdout
from streams.experiments.unit_kind import UnitKind
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import InputError
from streams.model.receipts import Receipt
from streams.model.times import unit_hint
from streams.targeting.attributes import RequestAttributes

# Looking up an enum member in its class costs 0.1 us.
_IMPRESSION = UnitKind.IMPRESSION
_USER = UnitKind.USER


class AssignmentRequest(RequestAttributes, Protocol):
    """A request for a variant."""

    @property
    def fallback_unit_id(self) -> str | None:
        """Another id of its unit; None without one."""

    @property
    def timestamp(self) -> int | None:
        """Time of the request, in milliseconds since the epoch; None for now."""


def decide_by_hash(
    assigner: Assigner,
    request: AssignmentRequest,
    eligible: EligibleSet | None,
    now_ms: Callable[[], int],
    draw: Callable[[], bytes],
    is_asked_for: bool,  # noqa: FBT001 - by position, as all are: it is called for every request
) -> Receipt | Exclusion | None:
    """Return the answer to a request, or None if it depends on earlier assignments of its unit.

    It is the receipt of a request that takes part, whose variant is the one of the receipt.

    Args:
        assigner: The experiment.
        request: The request.
        eligible: The variants that it can show; None for all.
        now_ms: Returns the time.
        draw: Returns 16 fresh random bytes, for an experiment on impressions.
        is_asked_for: Whether all units of the experiment have to be looked up, because some have
            two ids, or a variant from an eligible set.

    Raises:
        InputError: the request cannot be answered.
    """
    key: str | None = None
    kind = assigner.unit_kind
    if kind is not _IMPRESSION:
        key = request.user_id if kind is _USER else request.session_id
        if key is None:
            raise _missing(kind)
        if assigner.ignores(key):
            return outside(assigner, eligible, Reason.INVALID_UNIT)
    if assigner.admission is not None:
        former = fallback_key(assigner, key, request)
        excluded = assigner.admission.exclusion(key, former, request)
        if excluded is not None:
            return outside(assigner, eligible, *excluded)
    if key is None:
        key_or_draw: str | bytes = draw()
    elif (
        eligible is not None
        or is_asked_for
        or assigner.is_remembered
        or request.fallback_unit_id is not None
    ):
        return None
    else:
        key_or_draw = key
    at_ms = assigner.fixed_time_ms
    timestamp = request.timestamp
    if timestamp is not None or at_ms is None:
        at_ms = time_of(assigner, timestamp, now_ms())
    receipt = (
        assigner.receipt_by_hash(key_or_draw, at_ms)
        if eligible is None and not assigner.reads_context
        else assigner.receipt(
            key_or_draw,
            at_ms,
            request.features,
            request.device,
            request.location,
            None if eligible is None else eligible.bits,
        )
    )
    if receipt is None:
        return outside(assigner, eligible, Reason.NOT_ENROLLED)
    if eligible is not None and not assigner.counts(eligible.bits):
        return Exclusion(Reason.REDRAWN, receipt.variant - assigner.first_index)
    return receipt


def outside(
    assigner: Assigner, eligible: EligibleSet | None, reason: Reason, variant: int | None = None
) -> Exclusion:
    """Return the answer to a request that does not take part; nothing of it is logged.

    It is `variant`, by default the control, or if that is not eligible the first variant that the
    request names. A forced variant is always used.
    """
    shown = assigner.control if variant is None else variant
    if eligible is not None and reason is not Reason.FORCED and shown not in eligible:
        shown = eligible.first
    return Exclusion(reason, shown)


def is_uncounted(assigner: Assigner, assignment: Assignment, eligible: EligibleSet | None) -> bool:
    """Return whether a unit that takes part cannot be counted (`Assigner.counts`)."""
    return assignment.enrolled and eligible is not None and not assigner.counts(eligible.bits)


def unit_key(kind: UnitKind, request: RequestAttributes) -> str:
    """Return the id of the unit of a request.

    Raises:
        InputError: it names none (`MISSING_UNIT`).
    """
    key = request.user_id if kind is _USER else request.session_id
    if key is None:
        raise _missing(kind)
    return key


def _missing(kind: UnitKind) -> InputError:
    return InputError(
        "MISSING_UNIT",
        f"the experiment randomises by {kind}, and the request does not name one",
        "userId" if kind is _USER else "sessionId",
    )


def held_out_of(
    assigner: Assigner, holdouts: Sequence[Holdout], request: AssignmentRequest
) -> HeldOutRequest | None:
    """Return which of the holdouts of an experiment keeps a request out of it; None without one.

    Raises:
        InputError: the request names no unit, and the experiment is not on impressions.
    """
    kind = assigner.unit_kind
    if kind is not _IMPRESSION and assigner.ignores(unit_key(kind, request)):
        return None
    former = fallback_key(assigner, None, request)
    return kept_out(assigner.admission, holdouts, former, request, assigner.ignores)


def fallback_key(assigner: Assigner, key: str | None, request: AssignmentRequest) -> str | None:
    """Return the fallback id of a unit; None if it is missing or an ignored id."""
    fallback = request.fallback_unit_id
    if fallback is None or fallback == key or assigner.ignores(fallback):
        return None
    return fallback


def time_of(assigner: Assigner, timestamp: int | None, now_ms: int) -> int:
    """Return when a request was made.

    Of a request without a time it is now, by this clock, and the start of the experiment if this
    clock is behind it.

    Raises:
        InputError: the time is ahead of this clock (`OUT_OF_RANGE`): it goes into the receipt, and
            entries of an experiment expire by the times of its newest receipts. Or before the start
            of the experiment (`TIMESTAMP_BEFORE_START`): no unit was assigned then, and the
            duration of an experiment is counted from its oldest event.
    """
    if timestamp is None:
        return max(now_ms, assigner.started_at_ms)
    if timestamp > now_ms + CLOCK_SKEW_MS:
        raise InputError(
            "OUT_OF_RANGE",
            f"timestamp == {timestamp}, must be at most {CLOCK_SKEW_MS} ms ahead of the clock"
            + unit_hint(timestamp),
            "timestamp",
        )
    if timestamp < assigner.started_at_ms - CLOCK_SKEW_MS:
        raise InputError(
            "TIMESTAMP_BEFORE_START",
            f"timestamp == {timestamp}, must be at most {CLOCK_SKEW_MS} ms before the start of "
            f"the experiment at {assigner.started_at_ms}" + unit_hint(timestamp),
            "timestamp",
        )
    return timestamp
