"""Assignment of units to variants: decide, log, and answer once the record is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from api.http.models.errors import error_json
from api.http.models.requests import MAX_ASSIGNMENTS, AssignmentContext, AssignmentsRequest
from api.outbox import ImpressionRow, row_of
from api.receipts.sticky import ReceiptQuery
from api.services.held_out import HeldOutUnits
from api.services.logged_context import logged_context
from api.services.remembered import ReceiptStore, RememberedUnits
from api.snapshots.cache import ExperimentCache
from api.snapshots.running import AnsweringExperiment, RunningExperiment, ShippedExperiment
from streams.experiments.admission import Exclusion, HeldOutRequest
from streams.experiments.assignment_reason import Reason
from streams.experiments.eligible_variants import EligibleSet
from streams.experiments.hash_assignment import (
    decide_by_hash,
    held_out_of,
    outside,
    time_of,
    unit_key,
)
from streams.experiments.holdouts import holding
from streams.experiments.promotion_state import Phase
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import EngineError, InputError, ReceiptError
from streams.model.events import Observation, OutsideRequests
from streams.model.experiment_keys import is_key, key_number
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring, Receipt
from streams.model.validation import parse
from streams.process.random_draws import RandomDraws
from streams.projection.receipts import ReceiptPlace

# A member that is looked up in its class, and its hash, cost 0.1 us each.
_IMPRESSION = UnitKind.IMPRESSION
_ASSIGNED = Reason.ASSIGNED.value


class ImpressionLog(Protocol):
    """The log of impressions, and of exposures to holdouts."""

    def add_impression(self, row: ImpressionRow) -> None:
        """Take an impression."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take exposures."""

    def written(self) -> Awaitable[None]:
        """Return a future that is done once all that was added is durable."""


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
        self._remembered = RememberedUnits(keyring, sticky, now_ms)
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
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> bytes | None:
        """Return the answer, or None if it depends on what the unit got before."""
        assigner = running.assigner
        if running.holdouts:
            answer = self._held_out_by_hash(running, context, eligible)
            if answer is not None:
                return answer
        is_asked_for = running.id in self._sticky.aliased
        is_asked_for |= running.id in self._sticky.chosen_from_sets
        found = decide_by_hash(
            assigner, context, eligible, self._now_ms, self._draws.draw, is_asked_for
        )
        if found is None:
            if eligible is not None and assigner.phase is Phase.TRIAL:
                self._sticky.note_set(running.id)
            return None
        if isinstance(found, Exclusion):
            return self._outside(running, found)
        logged = logged_context(context)
        self._add(found, logged, is_repeatable=assigner.unit_kind is not _IMPRESSION)
        if running.holdouts:
            at_ms = time_of(assigner, context.timestamp, self._now_ms())
            self._units_of_holdouts.expose(running, found.unit, at_ms)
        self.answered[_ASSIGNED] += 1
        text = self._keyring.sign(found)
        variant = found.variant - assigner.first_index
        return running.rendering.assigned(text, variant, found.propensity)

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

    def _outside(self, running: RunningExperiment, excluded: Exclusion) -> bytes:
        """Return the answer to a request of which nothing is logged."""
        reason, variant = excluded
        self.answered[reason] += 1
        key = running.assigner.number, reason
        self._outside_counts[key] = self._outside_counts.get(key, 0) + 1
        return running.rendering.outside(reason, variant)

    def take_outside(self) -> list[OutsideRequests]:
        """Return counts of excluded requests since the last call, by experiment and reason."""
        counts, self._outside_counts = self._outside_counts, {}
        return [
            OutsideRequests(number, reason.value, count)
            for (number, reason), count in counts.items()
        ]

    def _held_out(
        self,
        running: RunningExperiment,
        context: AssignmentContext,
        eligible: EligibleSet | None,
        kept: HeldOutRequest,
    ) -> bytes:
        """Return the answer to a unit that is held out."""
        receipt = self._units_of_holdouts.receipt(running, kept, context, self._now_ms())
        excluded = outside(running.assigner, eligible, Reason.HOLDOUT)
        answer = self._outside(running, excluded)
        if receipt is None:
            return answer
        return running.rendering.held_out(receipt, excluded.variant)

    def _held_out_by_hash(
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> bytes | None:
        """Return the answer to a unit that is held out; None for every other one.

        A unit with two ids may be in by the other one, which is known where receipts are.
        """
        if running.id in self._sticky.aliased:
            return None
        found = held_out_of(running.assigner, running.holdouts, context)
        return None if found is None else self._held_out(running, context, eligible, found)

    async def _held_out_by_any_id(
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> bytes | None:
        """Return the answer to a unit with two ids if it is held out.

        It is not if the id by which it is in is not.
        """
        if running.id not in self._sticky.aliased:
            return None
        assigner = running.assigner
        key = unit_key(assigner.unit_kind, context)
        kept = held_out_of(assigner, running.holdouts, context)
        if kept is None:
            return None
        place = ReceiptPlace(running.id, assigner.phase, assigner.unit(key))
        known = await self._sticky.first(ReceiptQuery(place, None), lambda: None)
        try:
            unit = None if known.receipt is None else self._keyring.verify(known.receipt).unit
        except ReceiptError:  # its key was taken out of the ring
            unit = None
        if unit is not None and holding(running.holdouts, unit) is None:
            return None
        return self._held_out(running, context, eligible, kept)

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
        self, running: RunningExperiment, context: AssignmentContext, eligible: EligibleSet | None
    ) -> bytes:
        logged = logged_context(context)  # what cannot be logged is refused before it is kept
        found = await self._remembered.find(running, context, eligible)
        if isinstance(found, Exclusion):
            return self._outside(running, found)
        if found.aliases:
            logged = logged_context(context, found.aliases)
        # Logged each time: the process that wrote the first may have died before it could.
        self._add(found.receipt, logged, is_repeatable=True)
        self._count_for_holdouts(running, found.key, found.receipt.unit, context)
        self.answered[found.reason] += 1
        return running.rendering.otherwise(
            found.text, found.variant, found.reason, found.propensity
        )

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
