"""Observations that name a unit: the receipts of the unit are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from api.http.models.requests import AssignmentContext
from api.receipts.sticky import FirstReceipt, ReceiptQuery
from api.services.remembered import ReceiptStore
from api.snapshots.cache import ExperimentCache
from api.snapshots.running import RunningExperiment
from streams.experiments.holdouts import holding
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Phase
from streams.experiments.roster import fixed_weights
from streams.experiments.snapshot import Allocation, Snapshot
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import DependencyError, EventError, ExperimentNotFoundError, quoted
from streams.model.events import UnitObservation
from streams.model.receipts import Keyring
from streams.policies.bucketing import lasting_unit
from streams.projection.receipts import ReceiptPlace

_COMPILED = 64
"""Paused experiments, and trials of concluded ones, that are kept compiled."""

_Compiled = dict[tuple[str, int], RunningExperiment]


class CompleteReceiptStore(ReceiptStore, Protocol):
    """The store of first receipts, which says whether it has all of them.

    Attributes:
        unavailable: Number of look-ups that it did not answer.
        has_read: Whether what it has of experiments was read once.
    """

    unavailable: int
    has_read: bool

    async def is_complete(self) -> bool:
        """Return whether no first receipt is missing."""


class UnitResolver:
    """Finds the receipts by which what a unit did is observed.

    It is the receipt that counts the unit: where first receipts are kept the kept one, and else the
    one that the hash of the unit gives in every process. After a promotion a unit may have one of
    the trial and one of since then; it is the one of the time of the event.
    """

    def __init__(
        self,
        experiments: ExperimentCache,
        keyring: Keyring,
        sticky: CompleteReceiptStore,
        now_ms: Callable[[], int],
    ) -> None:
        self._experiments = experiments
        self._keyring = keyring
        self._sticky = sticky
        self._now_ms = now_ms
        self._paused: _Compiled = {}
        self._trials: _Compiled = {}

    async def receipts(self, observed: UnitObservation) -> list[str]:
        """Return the receipts of a unit in the experiment it names, or in all with the metric.

        Raises:
            EventError: the experiment is not known (`EXPERIMENT_NOT_FOUND`), or neither runs nor is
                paused (`EXPERIMENT_NOT_RUNNING`); it randomises by something else
                (`MISSING_UNIT`); the unit takes part in none (`UNKNOWN_UNIT`), or whether it does
                follows from what is not kept (`UNIT_NOT_REMEMBERED`): attributes of its requests,
                or its assignments since the conclusion or before those by eligible variants.
            DependencyError: first receipts cannot be read, or are being read from the log again, or
                the experiments have not all been read yet.
        """
        if observed.experiment is not None:
            found = await self._receipt(self._named(observed.experiment), observed)
            if found is None:
                raise _unknown(observed)
            return [found]
        if not self._experiments.is_complete:
            raise DependencyError("redis", "the experiments have not been read from Redis yet")
        receipts = []
        refused: EventError | None = None
        metric = observed.observation.metric
        for snapshot in self._experiments.observed_in(_kind(observed), metric):
            compiled = self._compiled(snapshot)
            if compiled is None:
                continue
            try:
                found = await self._receipt(compiled, observed)
            except EventError as error:
                refused = error
                continue
            if found is not None:
                receipts.append(found)
        receipts = list(dict.fromkeys(receipts))  # one of a holdout is of several experiments
        if not receipts:
            raise refused or _unknown(observed)
        return receipts

    def _named(self, name: str) -> RunningExperiment:
        try:
            snapshot = self._experiments.snapshot(name)
        except ExperimentNotFoundError as error:
            raise EventError(error.code, error.message, "experiment") from error
        compiled = self._compiled(snapshot)
        if compiled is None:
            raise EventError(
                "EXPERIMENT_NOT_RUNNING",
                f"experiment {quoted(name)} is {snapshot.experiment.status}, and its units are "
                "observed by their assignment ids",
                "experiment",
            )
        return compiled

    def _compiled(self, snapshot: Snapshot) -> RunningExperiment | None:
        """Return an experiment with which receipts are made; None if it makes none."""
        experiment = snapshot.experiment
        if experiment.is_assigning:
            return self._experiments.running(experiment.id)
        if experiment.status is not Status.PAUSED:
            return None
        key = experiment.id, snapshot.version
        found = self._paused.get(key)
        if found is None:
            running = replace(experiment, status=Status.RUNNING)
            found = RunningExperiment(replace(snapshot, experiment=running))
            _keep(self._paused, key, found)
        return found

    async def _receipt(self, running: RunningExperiment, observed: UnitObservation) -> str | None:
        """Return the receipt of a unit in an experiment; None if it does not take part."""
        assigner, unit_id, kind = running.assigner, observed.unit_id, _kind(observed)
        if assigner.unit_kind is not kind:
            if assigner.unit_kind is UnitKind.IMPRESSION:
                message = "every impression is a separate unit, observed by its assignment id"
                raise EventError("MISSING_UNIT", f"of the experiment {message}", "experiment")
            path = "userId" if assigner.unit_kind is UnitKind.USER else "sessionId"
            message = f"the experiment randomises by {assigner.unit_kind}, which is not named"
            raise EventError("MISSING_UNIT", message, path)
        if assigner.ignores(unit_id):
            return None
        found = await self._own_receipt(running, observed)
        unit = lasting_unit(unit_id)
        holdout = holding(self._experiments.covering(running.id), unit)
        # What a holdout counts of a unit may not depend on whether it is held out: where nothing is
        # kept, those count that would take part, and where it is, exposures say which did.
        is_of_holdout = found is None if assigner.is_remembered else found is not None
        if holdout is None or not is_of_holdout:
            return found
        return self._keyring.sign(holdout.receipt(unit))

    async def _own_receipt(
        self, running: RunningExperiment, observed: UnitObservation
    ) -> str | None:
        """Return the receipt that a unit would have without holdouts; None if it has none."""
        assigner, unit_id = running.assigner, observed.unit_id
        if not self._sticky.has_read:
            raise DependencyError("redis", "what is kept of units has not been read from Redis yet")
        experiment = self._experiments.snapshot(running.id).experiment
        at_ms = observed.observation.observed_at_ms
        at_ms = self._now_ms() if at_ms is None else at_ms
        trial, is_since = running, False
        if experiment.promotion is not None:
            trial = self._trial(running.id)
            is_since = at_ms >= (experiment.concluded_at_ms or 0)
        has_sets = running.id in self._sticky.chosen_from_sets
        is_kept_now = assigner.is_remembered or has_sets
        if is_kept_now or trial.assigner.is_remembered or running.id in self._sticky.aliased:
            unit = assigner.unit(unit_id)
            for phase in _phases(experiment, at_ms):
                found = await self._kept(ReceiptPlace(running.id, phase, unit))
                if found is not None:
                    return found
        if trial.assigner.is_remembered and self._is_read(trial):
            # It did not take part in the trial, so if it takes part it has since the conclusion.
            return None if is_kept_now or not is_since else self._by_hash(running, observed)
        found = self._by_hash(running if is_since else trial, observed)
        if found is None or not (is_since or has_sets):
            return found
        # The hash alone knows neither among which variants a unit was drawn, nor in which phase.
        if has_sets:
            message = "assignments by eligible variants, and those from before the first are not"
        else:
            message = "a fixed allocation without windows, so those since the conclusion are not"
        raise EventError(
            "UNIT_NOT_REMEMBERED",
            f"the experiment has {message} kept; observe by the assignment id",
            "experiment",
        )

    def _is_read(self, trial: RunningExperiment) -> bool:
        """Return whether all first receipts are kept, and none is in the log alone."""
        if trial.assigner.has_before:
            return trial.id in self._sticky.rebuilt
        return not trial.assigner.needs_log

    def _trial(self, experiment_id: str) -> RunningExperiment:
        """Return a promoted experiment as it was before its conclusion, but for moving weights."""
        snapshot = self._experiments.snapshot(experiment_id)
        experiment = snapshot.experiment
        key = experiment.id, experiment.version
        found = self._trials.get(key)
        if found is None:
            weights = fixed_weights(experiment.definition)
            before = replace(experiment, status=Status.RUNNING, promotion=None)
            allocation = Allocation(experiment.fixed_version, weights)
            found = RunningExperiment(replace(snapshot, experiment=before, allocation=allocation))
            _keep(self._trials, key, found)
        return found

    def _by_hash(self, running: RunningExperiment, observed: UnitObservation) -> str | None:
        """Return the receipt that the hash of a unit gives; None if it does not take part."""
        assigner, unit_id = running.assigner, observed.unit_id
        admission = assigner.admission
        if admission is not None:
            if admission.has_targeting:
                message = (
                    "the experiment has targeting and a fixed allocation without windows, so which "
                    "units take part is not kept; observe by the assignment id"
                )
                raise EventError("UNIT_NOT_REMEMBERED", message, "experiment")
            context = (
                AssignmentContext(session_id=unit_id)
                if observed.is_session
                else AssignmentContext(user_id=unit_id)
            )
            if admission.exclusion(unit_id, None, context) is not None:
                return None
        was_in = assigner.needs_log and running.id not in self._sticky.rebuilt
        assign = assigner.assign_before if was_in and assigner.has_before else assigner.assign
        assignment = assign(unit_id, self._now_ms(), was_in=was_in)
        if not assignment.enrolled:
            return None
        return self._keyring.sign(assignment.receipt)

    async def _kept(self, place: ReceiptPlace) -> str | None:
        unavailable = self._sticky.unavailable
        found: FirstReceipt = await self._sticky.first(ReceiptQuery(place, None), lambda: None)
        if found.receipt is not None:
            return found.receipt
        if self._sticky.unavailable != unavailable or not await self._sticky.is_complete():
            raise DependencyError(
                "redis", "the first receipts of units cannot be read, or are not complete yet"
            )
        return None


def _phases(experiment: Experiment, at_ms: int) -> list[Phase]:
    """Return the phases in which a unit may have been assigned, the likeliest one first.

    It is the newest that had begun at the time of an event. What began later comes last: the clock
    of the sender may be behind.
    """
    promotion = experiment.promotion
    began_ms = {Phase.TRIAL: 0}
    if promotion is not None:
        began_ms[Phase.PROMOTED] = experiment.concluded_at_ms or promotion.began_at_ms
        if promotion.is_rolled_back:
            began_ms[Phase.ROLLED_BACK] = promotion.began_at_ms
    return sorted(began_ms, key=lambda phase: (began_ms[phase] > at_ms, -phase))


def _keep(compiled: _Compiled, key: tuple[str, int], running: RunningExperiment) -> None:
    compiled[key] = running
    if len(compiled) > _COMPILED:
        del compiled[next(iter(compiled))]


def _kind(observed: UnitObservation) -> UnitKind:
    return UnitKind.SESSION if observed.is_session else UnitKind.USER


def _unknown(observed: UnitObservation) -> EventError:
    path = "sessionId" if observed.is_session else "userId"
    return EventError(
        "UNKNOWN_UNIT", f"{quoted(observed.unit_id)} takes part in no such experiment", path
    )
