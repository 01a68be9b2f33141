"""Variants of units that may have had one before: by what is kept of them, else by the hash."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from api.http.models.requests import AssignmentContext
from api.receipts.recent import RecentUnits
from api.receipts.sticky import FirstReceipt, ReceiptQuery
from api.snapshots.running import RunningExperiment
from streams.experiments.admission import Exclusion
from streams.experiments.assignment import Assigner, Assignment
from streams.experiments.assignment_reason import Reason
from streams.experiments.eligible_variants import EligibleSet
from streams.experiments.hash_assignment import (
    fallback_key,
    is_uncounted,
    outside,
    time_of,
    unit_key,
)
from streams.experiments.promotion_state import Phase
from streams.model.errors import ReceiptError
from streams.model.receipts import Keyring, Receipt
from streams.projection.receipts import Certainty, ReceiptPlace

_REASONS = {
    Certainty.FIRST: Reason.ASSIGNED,
    Certainty.KNOWN: Reason.STICKY,
    Certainty.PROVISIONAL: Reason.STICKY_UNAVAILABLE,
    Certainty.FULL: Reason.STICKY_UNAVAILABLE,
    Certainty.UNKNOWN: Reason.ASSIGNED,
}


class ReceiptStore(Protocol):
    """The store of first receipts.

    Attributes:
        recent: Units that this process has assigned.
    """

    recent: RecentUnits

    @property
    def aliased(self) -> Container[str]:
        """Experiments in which units have two ids."""

    @property
    def chosen_from_sets(self) -> Container[str]:
        """Experiments in which variants were drawn from eligible sets."""

    @property
    def rebuilt(self) -> Container[str]:
        """Experiments all receipts of which were read from the log."""

    async def first(self, ask: ReceiptQuery, standby: Callable[[], str | None]) -> FirstReceipt:
        """Return the receipt a unit got first; `standby` gives it one where that is not known."""

    async def replace(self, place: ReceiptPlace, before: str, receipt: str) -> str:
        """Keep another receipt instead of `before`, and return the one that is kept."""

    def note_set(self, experiment_id: str) -> None:
        """Note that variants of an experiment are drawn from eligible sets."""


@dataclass(frozen=True, slots=True)
class RememberedUnit:
    """Variant and receipt of a unit.

    Attributes:
        receipt: Its first receipt.
        text: The same, signed.
        aliases: Its other ids, hashed, to be logged with it.
        key: Id by which its hash decides.
        variant: Index of the variant that it sees now.
        propensity: Of that variant.
        reason: Why it sees it.
    """

    receipt: Receipt
    text: str
    aliases: list[int]
    key: str
    variant: int
    propensity: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Assignment of a unit of which nothing is kept.

    Attributes:
        key: Id by which its hash decides.
        assignment: What the hash gives.
        unit: Its id, hashed.
        other: Its other id, hashed; None without one.
        is_aliased: Whether units of the experiment have two ids.
        is_presumed: Whether it is taken to have had it before, until the log was read for it.
        is_stopped: Whether the variant takes no new units, so that it would be one too many.
        text: Its receipt, signed; None if it is not to be kept.
    """

    key: str
    assignment: Assignment
    unit: int
    other: int | None
    is_aliased: bool
    is_presumed: bool
    is_stopped: bool
    text: str | None


class RememberedUnits:
    """Units that may have had a variant before.

    Args:
        keyring: Signs and verifies receipts.
        sticky: Knows what units had.
        now_ms: The time, in milliseconds since the epoch.
    """

    def __init__(self, keyring: Keyring, sticky: ReceiptStore, now_ms: Callable[[], int]) -> None:
        self._keyring = keyring
        self._sticky = sticky
        self._now_ms = now_ms

    async def find(
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> RememberedUnit | Exclusion:
        """Return what a unit has, and keep it; or an answer of which nothing is logged.

        Args:
            running: The experiment.
            context: The request.
            eligible: Variants that the request allows; None for all.

        Raises:
            EngineError: it cannot be decided; nothing is kept.
        """
        candidate = self._candidate(running, context, eligible)
        if isinstance(candidate, Exclusion):
            return candidate
        kept = await self._sticky.first(
            self._query(running, candidate), lambda: self._standby(running.assigner, candidate)
        )
        return await self._settled(running, context, eligible, candidate, kept)

    def _candidate(
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> _Candidate | Exclusion:
        """Return what a unit gets if nothing is kept of it, or an answer that stands anyway."""
        assigner = running.assigner
        key = unit_key(assigner.unit_kind, context)
        fallback = fallback_key(assigner, key, context)
        first_key = key if fallback is None else self._first_of(assigner, key, fallback)
        # What the hash alone has given before is not kept, and it is redrawn where it must be.
        drawn = None if self._was_by_hash(assigner, first_key) else eligible
        assignment = self._choose(assigner, first_key, context, drawn)
        may_be_in = not assignment.enrolled and assigner.may_be_in(first_key)
        presumed = self._presumed(running, first_key, context, drawn, may_be_in)
        assignment = presumed or assignment
        unit, other = assignment.receipt.unit, None
        is_aliased = fallback is not None or running.id in self._sticky.aliased
        if fallback is not None:
            unit, other = assigner.unit(key), assigner.unit(fallback)
        elif not (assignment.enrolled or may_be_in or is_aliased):
            return outside(assigner, eligible, Reason.NOT_ENROLLED)
        if is_uncounted(assigner, assignment, eligible):
            return Exclusion(Reason.REDRAWN, assignment.variant)
        # Among other variants, or by another id, the hash would give another receipt.
        is_needed = assigner.is_remembered or running.id in self._sticky.chosen_from_sets
        is_stopped = assignment.enrolled and not assigner.shows(assignment.variant)
        is_kept = assignment.enrolled and not is_stopped and (is_needed or is_aliased)
        return _Candidate(
            first_key,
            assignment,
            unit,
            other,
            is_aliased,
            presumed is not None,
            is_stopped,
            self._keyring.sign(assignment.receipt) if is_kept else None,
        )

    def _query(self, running: RunningExperiment, candidate: _Candidate) -> ReceiptQuery:
        # What the hash alone has given before is in the log, and a worker reads it from there.
        may_be_logged = (
            candidate.is_aliased
            and not running.assigner.is_remembered
            and running.id not in self._sticky.rebuilt
        )
        place = ReceiptPlace(running.id, running.assigner.phase, candidate.unit)
        return ReceiptQuery(place, candidate.text, candidate.other, may_be_logged)

    def _standby(self, assigner: Assigner, candidate: _Candidate) -> str | None:
        """Return the receipt of a unit while it is not known what is kept of it."""
        text, receipt = candidate.text, candidate.assignment.receipt
        at_ms = assigner.standby_time_ms(receipt.assigned_at_ms)
        if text is None or not assigner.is_remembered or at_ms == receipt.assigned_at_ms:
            return text
        # The same for every request of the unit, whatever each one's values are.
        same = receipt._replace(assigned_at_ms=at_ms, dimensions=assigner.unknown_dimensions)
        return self._keyring.sign(same)

    async def _settled(
        self,
        running: RunningExperiment,
        context: AssignmentContext,
        eligible: EligibleSet | None,
        candidate: _Candidate,
        kept: FirstReceipt,
    ) -> RememberedUnit | Exclusion:
        """Return what a unit has by what is kept of it."""
        assigner = running.assigner
        text, standing, is_shared, is_awaited = kept
        if text is None and not candidate.assignment.enrolled:
            return outside(assigner, eligible, Reason.NOT_ENROLLED)
        if text is None and candidate.is_stopped:
            variant, _ = self._redraw(assigner, candidate.key, context, eligible)
            return Exclusion(Reason.REDRAWN, variant)
        reason = _reason_of(standing, is_presumed=candidate.is_presumed)
        receipt = candidate.assignment.receipt
        if text is None:  # only the hash decides
            text = self._keyring.sign(receipt)
        elif text != candidate.text:
            try:
                receipt = self._keyring.verify(text)  # with the features it was decided by
            except ReceiptError:  # its key was taken out of the ring
                reason = Reason.ASSIGNED
                place = ReceiptPlace(running.id, assigner.phase, candidate.unit)
                text, receipt = await self._renewed(place, text, receipt)
        if is_awaited:
            is_recent = self._is_recent(assigner, receipt.unit)
            reason = Reason.STICKY if is_recent else Reason.ASSIGNED
        ids = (candidate.unit, candidate.other) if is_shared else (candidate.unit,)
        aliases = [each for each in ids if each is not None and each != receipt.unit]
        variant, propensity = receipt.variant - assigner.first_index, receipt.propensity
        if not _is_eligible(variant, eligible) or not assigner.shows(variant):
            reason = Reason.REDRAWN
            variant, propensity = self._redraw(assigner, candidate.key, context, eligible)
        return RememberedUnit(receipt, text, aliases, candidate.key, variant, propensity, reason)

    def _was_by_hash(self, assigner: Assigner, key: str) -> bool:
        """Return whether this process has assigned a unit of which nothing is kept, by its hash."""
        is_by_hash = assigner.phase is Phase.TRIAL and not assigner.is_remembered
        return is_by_hash and self._is_recent(assigner, assigner.unit(key))

    def _is_recent(self, assigner: Assigner, unit: int) -> bool:
        return self._sticky.recent.order(assigner.number ^ unit) is not None

    def _first_of(self, assigner: Assigner, key: str, fallback: str) -> str:
        """Return the id by which a unit of two ids is assigned where no receipt of it is kept.

        That is the one that this process has assigned before, and else the fallback: it is the id
        from before the other one was known.
        """
        if assigner.is_remembered:
            return fallback
        before = self._sticky.recent.order(assigner.number ^ assigner.unit(key))
        if before is None:
            return fallback
        of_fallback = self._sticky.recent.order(assigner.number ^ assigner.unit(fallback))
        return key if of_fallback is None or before < of_fallback else fallback

    def _presumed(
        self,
        running: RunningExperiment,
        key: str,
        context: AssignmentContext,
        eligible: EligibleSet | None,
        may_be_in: bool,  # noqa: FBT001 - of a private method
    ) -> Assignment | None:
        """Return what a unit is taken to have until the log was read for it; None for nothing.

        One that may be in is in: none may be lost. One that may have had a variant before the
        variants changed has had it, and does not get a second one.
        """
        assigner = running.assigner
        if not assigner.needs_log or running.id in self._sticky.rebuilt:
            return None
        if eligible is None and assigner.has_before:
            return assigner.assign_before(key, self._time_of(assigner, context), was_in=may_be_in)
        if not may_be_in:
            return None
        return self._choose(assigner, key, context, eligible, was_in=True)

    async def _renewed(
        self, place: ReceiptPlace, before: str, receipt: Receipt
    ) -> tuple[str, Receipt]:
        """Return what a unit has whose first receipt no key verifies: `receipt` unless it has one.

        Args:
            place: The unit.
            before: Text of its first receipt.
            receipt: What it gets instead.
        """
        text = self._keyring.sign(receipt)
        kept = await self._sticky.replace(place, before, text)
        # Another request of the unit may have been faster.
        return kept, receipt if kept == text else self._keyring.verify(kept)

    def _redraw(
        self,
        assigner: Assigner,
        key: str,
        context: AssignmentContext,
        eligible: EligibleSet | None,
    ) -> tuple[int, int]:
        return assigner.redraw(
            key,
            None if eligible is None else eligible.bits,
            features=context.features,
            device=context.device,
            location=context.location,
        )

    def _choose(
        self,
        assigner: Assigner,
        key: str | bytes,
        context: AssignmentContext,
        eligible: EligibleSet | None,
        *,
        was_in: bool = False,
    ) -> Assignment:
        return assigner.assign(
            key,
            self._time_of(assigner, context),
            features=context.features,
            device=context.device,
            location=context.location,
            was_in=was_in,
            eligible=None if eligible is None else eligible.bits,
        )

    def _time_of(self, assigner: Assigner, context: AssignmentContext) -> int:
        return time_of(assigner, context.timestamp, self._now_ms())


def _reason_of(standing: Certainty, *, is_presumed: bool) -> Reason:
    reason = _REASONS[standing]
    return Reason.STICKY_UNAVAILABLE if is_presumed and reason is Reason.ASSIGNED else reason


def _is_eligible(variant: int, eligible: EligibleSet | None) -> bool:
    return eligible is None or variant in eligible
