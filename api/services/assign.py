"""Assignment of units to variants: decide, log, and answer once the record is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Any, Protocol

from api.http.models.errors import error_json
from api.http.models.requests import MAX_ASSIGNMENTS, AssignmentContext, AssignmentsRequest
from api.outbox import ImpressionRow, row_of
from api.receipts.recent import RecentUnits
from api.receipts.sticky import FirstReceipt, ReceiptQuery
from api.services.held_out import HeldOutUnits
from api.services.logged_context import logged_context
from api.snapshots.cache import ExperimentCache
from api.snapshots.running import AnsweringExperiment, RunningExperiment, ShippedExperiment
from streams.experiments.admission import kept_out
from streams.experiments.assignment import Assigner, Assignment
from streams.experiments.assignment_reason import Reason
from streams.experiments.config import UnitKind
from streams.experiments.eligible_variants import Eligible
from streams.experiments.hash_assignment import (
    Decision,
    decide_by_hash,
    fallback_key,
    is_uncounted,
    outside,
    receipt_of,
    time_of,
    unit_key,
)
from streams.experiments.holdouts import Holdout, holding
from streams.experiments.promotion_state import Phase
from streams.model.errors import EngineError, InputError, ReceiptError
from streams.model.events import Observation, OutsideRequests
from streams.model.experiment_keys import is_key, key_number
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring, Receipt
from streams.model.validation import parse
from streams.process.random_draws import RandomDraws
from streams.projection.receipts import Place, Standing

# A member that is looked up in its class, and its hash, cost 0.1 us each.
_IMPRESSION = UnitKind.IMPRESSION
_ASSIGNED = Reason.ASSIGNED.value

_REASONS = {
    Standing.FIRST: Reason.ASSIGNED,
    Standing.KNOWN: Reason.STICKY,
    Standing.PROVISIONAL: Reason.STICKY_UNAVAILABLE,
    Standing.FULL: Reason.STICKY_UNAVAILABLE,
    Standing.UNKNOWN: Reason.ASSIGNED,
}


class ImpressionLog(Protocol):
    """The log of impressions, and of exposures to holdouts."""

    def add_impression(self, row: ImpressionRow) -> None:
        """Take an impression."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take exposures."""

    def written(self) -> Awaitable[None]:
        """Return a future that is done once all that was added is durable."""


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

    async def replace(self, place: Place, before: str, receipt: str) -> str:
        """Keep another receipt instead of `before`, and return the one that is kept."""

    def note_set(self, experiment_id: str) -> None:
        """Note that variants of an experiment are drawn from eligible sets."""


class AssignmentService:
    """Assignment of units to variants, logged before it is answered.

    Attributes:
        answered: Number of answers by reason.
    """

    def __init__(
        self,
        experiments: ExperimentCache,
        keyring: Keyring,
        log: ImpressionLog,
        sticky: ReceiptStore,
        now_ms: Callable[[], int],
    ) -> None:
        self.answered = {reason.value: 0 for reason in Reason}
        self._experiments = experiments
        self._keyring = keyring
        self._log = log
        self._units_of_holdouts = HeldOutUnits(keyring, log)
        self._sticky = sticky
        self._now_ms = now_ms
        self._draws = RandomDraws()
        self._outside_counts: dict[tuple[int, Reason], int] = {}

    async def assign(self, experiment_id: str, body: dict[str, Any]) -> bytes:
        """Return the JSON answer to one request.

        Raises:
            EngineError: it cannot be answered; nothing was logged.
        """
        running = self._experiments.answering(experiment_id)
        context = parse(AssignmentContext, body)
        answer = await self._answer(running, context)
        await self._log.written()
        return answer

    async def assign_all(self, body: dict[str, Any]) -> bytes:
        """Return the JSON answer to a request for several experiments and units.

        The answer is `{"assignments": [[...], ...]}`: a row for each unit, in it an assignment for
        each experiment, or `{"error": ...}` in its place.

        Raises:
            EngineError: nothing of it can be answered.
        """
        request = parse(AssignmentsRequest, body)
        asked = len(request.experiment_ids) * len(request.units)
        if asked > MAX_ASSIGNMENTS:
            raise InputError(
                "OUT_OF_RANGE",
                f"experimentIds * units == {asked}, must be <= {MAX_ASSIGNMENTS}",
                "units",
            )
        asked_for = _ids_for_sets(request)
        # Concurrently, so that what must be asked of Redis is asked at once.
        answers = await asyncio.gather(
            *(
                self._answer_one(experiment_id, context, index, asked_for)
                for index, context in enumerate(request.units)
                for experiment_id in request.experiment_ids
            )
        )
        await self._log.written()
        width = len(request.experiment_ids)
        rows = [
            b"[%b]" % b",".join(answers[start : start + width])
            for start in range(0, len(answers), width)
        ]
        return b'{"assignments":[%b]}' % b",".join(rows)

    async def _answer_one(
        self,
        experiment_id: str,
        context: AssignmentContext,
        index: int,
        asked_for: frozenset[str],
    ) -> bytes:
        try:
            running = self._experiments.answering(experiment_id)
            answer = await self._answer(running, context, asked_for)
        except EngineError as error:
            if isinstance(error, InputError):
                error.path = f"units[{index}].{error.path}"
            return error_json(error)
        return answer

    async def _answer(
        self,
        running: AnsweringExperiment,
        context: AssignmentContext,
        asked_for: frozenset[str] = frozenset(),
    ) -> bytes:
        """Return the answer of one experiment.

        Args:
            running: The experiment.
            context: The request.
            asked_for: Ids of all experiments that are asked for at once.
        """
        if isinstance(running, ShippedExperiment):
            return self._shipped(running, context, asked_for)
        eligible = None
        if context.eligible is not None:
            eligible = running.assigner.variants.read(context.eligible, asked_for)
        answer = self._decide(running, context, eligible)
        if answer is None and running.holdouts:
            answer = await self._held_out_by_any_id(running, context, eligible)
        if answer is None:
            answer = await self._decide_remembered(running, context, eligible)
        return answer

    def _decide(
        self, running: RunningExperiment, context: AssignmentContext, eligible: Eligible | None
    ) -> bytes | None:
        """Return the answer, or None if it depends on what the unit got before."""
        assigner = running.assigner
        if running.holdouts:
            answer = self._held_out_by_hash(running, context, eligible)
            if answer is not None:
                return answer
        is_asked_for = running.id in self._sticky.aliased
        is_asked_for |= running.id in self._sticky.chosen_from_sets
        decision = decide_by_hash(
            assigner, context, eligible, self._now_ms, self._draws.draw, is_asked_for=is_asked_for
        )
        if decision is None:
            if eligible is not None and assigner.phase is Phase.TRIAL:
                self._sticky.note_set(running.id)
            return None
        assignment = decision.assignment
        if assignment is None:
            return self._outside(running, decision)
        logged = logged_context(context)
        receipt = receipt_of(assigner, assignment)
        self._add(receipt, logged, is_repeatable=assigner.unit_kind is not _IMPRESSION)
        if running.holdouts:
            at_ms = time_of(assigner, context.timestamp, self._now_ms())
            self._units_of_holdouts.expose(running, receipt.unit, at_ms)
        self.answered[_ASSIGNED] += 1
        text = self._keyring.sign(receipt)
        return running.rendering.assigned(text, assignment.variant, receipt.propensity)

    def _shipped(
        self, shipped: ShippedExperiment, context: AssignmentContext, asked_for: frozenset[str]
    ) -> bytes:
        """Return the answer of an experiment that serves one variant.

        It is the first variant that the request names where what is served is not eligible.
        """
        reason, variant = shipped.shipping.decide(
            context, context.fallback_unit_id, shipped.holdouts
        )
        if context.eligible is not None:
            eligible = shipped.shipping.variants.read(context.eligible, asked_for)
            if reason is not Reason.FORCED and variant not in eligible:
                variant = eligible.first
        self.answered[reason] += 1
        return shipped.rendering.outside(reason, variant)

    def _outside(self, running: RunningExperiment, decision: Decision) -> bytes:
        """Return the answer to a request of which nothing is logged."""
        self.answered[decision.reason] += 1
        key = running.assigner.number, decision.reason
        self._outside_counts[key] = self._outside_counts.get(key, 0) + 1
        return running.rendering.outside(decision.reason, decision.variant)

    def take_outside(self) -> list[OutsideRequests]:
        """Return how many requests took no part since the last call, by experiment and reason."""
        counts, self._outside_counts = self._outside_counts, {}
        return [
            OutsideRequests(number, reason.value, count)
            for (number, reason), count in counts.items()
        ]

    def _held_out(
        self,
        running: RunningExperiment,
        context: AssignmentContext,
        eligible: Eligible | None,
        holdout: Holdout,
        lasting: str,
    ) -> bytes:
        """Return the answer to a unit that is held out, by the id by which that was decided."""
        at_ms = time_of(running.assigner, context.timestamp, self._now_ms())
        receipt = self._units_of_holdouts.receipt(running, holdout, lasting, context, at_ms)
        decision = outside(running.assigner, eligible, Reason.HOLDOUT)
        answer = self._outside(running, decision)
        if receipt is None:
            return answer
        return running.rendering.held_out(receipt, decision.variant)

    def _held_out_by_hash(
        self, running: RunningExperiment, context: AssignmentContext, eligible: Eligible | None
    ) -> bytes | None:
        """Return the answer to a unit that is held out; None for every other one.

        A unit with two ids may be in by the other one, which is known where receipts are.
        """
        assigner = running.assigner
        key = unit_key(assigner.unit_kind, context)
        if assigner.ignores(key) or running.id in self._sticky.aliased:
            return None
        former = fallback_key(assigner, key, context)
        holdout = kept_out(assigner.admission, running.holdouts, key, former, context)
        if holdout is None:
            return None
        return self._held_out(running, context, eligible, holdout, former or key)

    async def _held_out_by_any_id(
        self, running: RunningExperiment, context: AssignmentContext, eligible: Eligible | None
    ) -> bytes | None:
        """Return the answer to a unit with two ids if it is held out.

        It is not if the id by which it is in is not.
        """
        if running.id not in self._sticky.aliased:
            return None
        assigner = running.assigner
        key = unit_key(assigner.unit_kind, context)
        fallback = fallback_key(assigner, key, context)
        holdout = kept_out(assigner.admission, running.holdouts, key, fallback, context)
        if holdout is None:
            return None
        place = Place(running.id, assigner.phase, assigner.unit(key))
        known = await self._sticky.first(ReceiptQuery(place, None), lambda: None)
        try:
            unit = None if known.receipt is None else self._keyring.verify(known.receipt).unit
        except ReceiptError:  # its key was taken out of the ring
            unit = None
        if unit is not None and holding(running.holdouts, unit) is None:
            return None
        return self._held_out(running, context, eligible, holdout, fallback or key)

    def _count_for_holdouts(
        self, running: RunningExperiment, lasting: str, unit: int, context: AssignmentContext
    ) -> None:
        """Count a unit for the holdouts of an experiment that it takes part in by its hash.

        Of one that is in by its receipt alone, those held out have none like it.
        """
        if not running.holdouts or not running.assigner.is_in(lasting):
            return
        if holding(running.holdouts, unit) is None:
            at_ms = time_of(running.assigner, context.timestamp, self._now_ms())
            self._units_of_holdouts.expose(running, unit, at_ms)

    async def _decide_remembered(
        self, running: RunningExperiment, context: AssignmentContext, eligible: Eligible | None
    ) -> bytes:
        assigner = running.assigner
        logged = logged_context(context)
        key = unit_key(assigner.unit_kind, context)
        fallback = fallback_key(assigner, key, context)
        first_key = key if fallback is None else self._first_of(assigner, key, fallback)
        # What the hash alone has given before is not kept, and it is redrawn where it must be.
        drawn = None if self._was_by_hash(assigner, first_key) else eligible
        assignment = self._choose(assigner, first_key, context, drawn)
        may_be_in = not assignment.enrolled and assigner.may_be_in(first_key)
        presumed = self._presumed(running, first_key, context, drawn, may_be_in)
        assignment = presumed or assignment
        unit, other = assignment.unit, None
        is_aliased = fallback is not None or running.id in self._sticky.aliased
        if fallback is not None:
            unit, other = assigner.unit(key), assigner.unit(fallback)
        elif not (assignment.enrolled or may_be_in or is_aliased):
            return self._outside(running, outside(assigner, eligible, Reason.NOT_ENROLLED))
        if is_uncounted(assigner, assignment, eligible):
            return self._outside(running, Decision(Reason.REDRAWN, assignment.variant, None))
        receipt = receipt_of(assigner, assignment)
        # Among other variants, or by another id, the hash would give another receipt.
        is_needed = assigner.is_remembered or running.id in self._sticky.chosen_from_sets
        is_stopped = assignment.enrolled and not assigner.shows(assignment.variant)
        is_kept = assignment.enrolled and not is_stopped and (is_needed or is_aliased)
        # What the hash alone has given before is in the log, and a worker reads it from there.
        may_be_logged = (
            is_aliased and not assigner.is_remembered and running.id not in self._sticky.rebuilt
        )
        text = self._keyring.sign(receipt) if is_kept else None

        def standby() -> str | None:
            at_ms = assigner.standby_time_ms(receipt.assigned_at_ms)
            if text is None or not assigner.is_remembered or at_ms == receipt.assigned_at_ms:
                return text
            # The same for every request of the unit, whatever each one's values are.
            same = receipt._replace(assigned_at_ms=at_ms, dimensions=assigner.unknown_dimensions)
            return self._keyring.sign(same)

        place = Place(running.id, assigner.phase, unit)
        first, standing, is_shared, is_awaited = await self._sticky.first(
            ReceiptQuery(place, text, other, may_be_logged), standby
        )
        if first is None and not assignment.enrolled:
            return self._outside(running, outside(assigner, eligible, Reason.NOT_ENROLLED))
        if first is None and is_stopped:  # a new unit of it would be one too many
            variant, _ = self._redraw(assigner, first_key, context, eligible)
            return self._outside(running, Decision(Reason.REDRAWN, variant, None))
        reason = _reason_of(standing, is_presumed=presumed is not None)
        if first is None:  # only the hash decides
            first = self._keyring.sign(receipt)
        elif first != text:
            try:
                receipt = self._keyring.verify(first)  # with the features it was decided by
            except ReceiptError:  # its key was taken out of the ring
                reason = Reason.ASSIGNED
                first, receipt = await self._renewed(place, first, receipt)
        reason = self._reason_of_awaited(assigner, receipt.unit) if is_awaited else reason
        ids = (unit, other) if is_shared else (unit,)
        aliases = [each for each in ids if each is not None and each != receipt.unit]
        # Logged each time: the process that wrote the first may have died before it could.
        self._add(
            receipt, logged_context(context, aliases) if aliases else logged, is_repeatable=True
        )
        self._count_for_holdouts(running, first_key, receipt.unit, context)
        variant, propensity = receipt.variant - assigner.first_index, receipt.propensity
        if not _is_eligible(variant, eligible) or not assigner.shows(variant):
            reason = Reason.REDRAWN
            variant, propensity = self._redraw(assigner, first_key, context, eligible)
        self.answered[reason] += 1
        return running.rendering.otherwise(first, variant, reason, propensity)

    def _was_by_hash(self, assigner: Assigner, key: str) -> bool:
        """Return whether this process has assigned a unit of which nothing is kept, by its hash."""
        is_by_hash = assigner.phase is Phase.TRIAL and not assigner.is_remembered
        return is_by_hash and self._is_recent(assigner, assigner.unit(key))

    def _reason_of_awaited(self, assigner: Assigner, unit: int) -> Reason:
        return Reason.STICKY if self._is_recent(assigner, unit) else Reason.ASSIGNED

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
        eligible: Eligible | None,
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

    async def _renewed(self, place: Place, before: str, receipt: Receipt) -> tuple[str, Receipt]:
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
        eligible: Eligible | None,
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
        eligible: Eligible | None,
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

    def _add(self, receipt: Receipt, logged: str, *, is_repeatable: bool) -> None:
        if is_repeatable:
            self._sticky.recent.note(receipt.experiment ^ receipt.unit)
        self._log.add_impression(row_of(receipt, logged, is_repeatable=is_repeatable))


def _ids_for_sets(request: AssignmentsRequest) -> frozenset[str]:
    """Return the ids of all experiments of a request; none where no set can be of several."""
    names = request.experiment_ids
    if len(names) == 1 or all(unit.eligible is None for unit in request.units):
        return frozenset()
    return frozenset(experiment_id(key_number(name)) if is_key(name) else name for name in names)


def _reason_of(standing: Standing, *, is_presumed: bool) -> Reason:
    reason = _REASONS[standing]
    return Reason.STICKY_UNAVAILABLE if is_presumed and reason is Reason.ASSIGNED else reason


def _is_eligible(variant: int, eligible: Eligible | None) -> bool:
    return eligible is None or variant in eligible
