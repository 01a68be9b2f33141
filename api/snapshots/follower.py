"""Every experiment in memory: what the fast path reads, kept up with what Redis announces.

Without Redis it goes on with what it has, and knows how old that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from api.snapshots.rendering import RenderedAssignments
from streams.experiments.assignment import Assigner
from streams.experiments.lifecycle import Status
from streams.experiments.measurement_plan import accepted_of
from streams.experiments.snapshot import Snapshot
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    ExperimentNotRunningError,
)
from streams.model.ids import experiment_id
from streams.model.quantities import ALLOCATION_TOTAL
from streams.process.background import BackgroundTasks
from streams.projection.reader import Projected

GATHER_S = 0.05
"""How long announcements are gathered before their snapshots are fetched together: a busy
experiment is announced tens of times a second, and every fetch takes time from the requests."""

LOOK_S = 0.02
"""How often the result of a command is looked for."""

RECONNECT_S = 0.5

SWITCH_PATIENCE_S = 30.0
"""How long a snapshot of the generation that was active before is kept for one of its version or a
newer one of the new generation. That follows the old one at a distance of a second or two, and no
experiment should seem to go back to what it was before."""

_log = logging.getLogger(__name__)


class SnapshotSource(Protocol):
    """Where snapshots come from."""

    async def snapshots(self, experiment_ids: Sequence[str]) -> Projected:
        """Return the newest snapshots of those experiments that have one."""

    async def newer(self, known: Mapping[str, int]) -> Projected:
        """Return all snapshots whose version is not the known one."""

    def announcements(self) -> AsyncIterator[tuple[str, int] | None]:
        """Yield (experiment id, version) as snapshots are written, and None in silence."""


class RunningExperiment:
    """An experiment that assigns: compiled, and rendered.

    Attributes:
        id: Its id.
        assigner: Who gets what.
        rendering: The JSON of the answers.
    """

    __slots__ = ("assigner", "id", "rendering")

    def __init__(self, snapshot: Snapshot) -> None:
        """Compile a snapshot.

        Raises:
            ValueError: its weights do not share all units out among its variants.
        """
        weights, variants = snapshot.allocation.weights, snapshot.experiment.definition.variants
        if len(weights) != len(variants) or min(weights) < 0 or sum(weights) != ALLOCATION_TOTAL:
            raise ValueError(f"{len(weights)} weights of {len(variants)} variants")
        self.id = snapshot.experiment.id
        self.assigner = Assigner(snapshot)
        self.rendering = RenderedAssignments(snapshot)


class Experiments:
    """All experiments by id.

    Attributes:
        unreadable: Experiments whose newest snapshot cannot be used, with the reason. Each keeps
            its last good one, if there is one.
        conclusions: Conclusions seen since the start of this process.
        winner_confidences: Confidence of each of them that had a winner.
    """

    def __init__(
        self,
        source: SnapshotSource,
        sweep_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        taken: Callable[[Snapshot], object] | None = None,
        dropped: Callable[[Snapshot], object] | None = None,
    ) -> None:
        """Begin with none.

        Args:
            source: Where snapshots come from.
            sweep_s: Seconds between two readings of everything, for what no announcement told.
            clock: Seconds that only grow.
            taken: Called with every snapshot before it is used.
            dropped: Called with the last snapshot of every experiment that is forgotten.
        """
        self._taken = taken
        self._dropped = dropped
        self.unreadable: dict[str, str] = {}
        self.conclusions = 0
        self.winner_confidences: list[float] = []
        self._source = source
        self._sweep_s = sweep_s
        self._clock = clock
        self._snapshots: dict[str, Snapshot] = {}
        self._running: dict[str, RunningExperiment] = {}
        self._heard_at_s = 0.0
        self._has_all = False
        self._announced: dict[str, int] = {}
        self._has_announced = asyncio.Event()
        self._epoch = 0
        self._left_over: set[str] = set()
        self._patient_until_s = 0.0
        self._has_switched = asyncio.Event()

    @property
    def age_s(self) -> float | None:
        """Seconds since Redis was last heard; None before everything was read a first time."""
        return self._clock() - self._heard_at_s if self._has_all else None

    def running(self, experiment_id: str) -> RunningExperiment:
        """Return an experiment that assigns.

        Raises:
            ExperimentNotFoundError: there is none with this id.
            ExperimentNotRunningError: it does not assign now.
            DependencyError: that cannot be told yet.
        """
        found = self._running.get(experiment_id)
        if found is None:
            status = self.snapshot(experiment_id).experiment.status
            raise ExperimentNotRunningError(experiment_id, status)
        return found

    def snapshot(self, experiment_id: str) -> Snapshot:
        """Return what is known of an experiment.

        Raises:
            ExperimentNotFoundError: there is none with this id.
            DependencyError: that cannot be told before everything was read from Redis.
        """
        found = self._snapshots.get(experiment_id)
        if found is None and not self._has_all:
            raise DependencyError("redis", "the experiments have not been read from Redis yet")
        if found is None:
            raise ExperimentNotFoundError(experiment_id)
        return found

    def check_value(self, experiment: int, metric: str, value: int) -> None:
        """Refuse a value, in micro-units, that a metric is declared not to have.

        Of an experiment that is not known here nothing is refused.

        Args:
            experiment: The experiment as a 64-bit number.
            metric: Name of the metric.
            value: The value.

        Raises:
            EventError: as `Accepted.check`.
        """
        found = self._snapshots.get(experiment_id(experiment))
        if found is None:
            return
        accepted = accepted_of(found.experiment.definition.config, metric)
        if accepted is not None:
            accepted.check(metric, value)

    @property
    def not_evaluated(self) -> dict[str, str]:
        """Experiments whose last evaluation failed, with the code; they keep their last weights."""
        return {
            name: snapshot.failure.code
            for name, snapshot in self._snapshots.items()
            if snapshot.failure is not None and snapshot.experiment.status is not Status.ARCHIVED
        }

    def all(self) -> list[Snapshot]:
        """Return what is known of every experiment, newest first."""
        return sorted(
            self._snapshots.values(),
            key=lambda snapshot: (-snapshot.experiment.created_at_ms, snapshot.experiment.id),
        )

    def check_room(self, experiment_id: str, limit: int) -> None:
        """Return if there may be one more experiment, or this one is there already.

        Raises:
            EngineError: there are `limit` that are not archived (`TOO_MANY_EXPERIMENTS`).
        """
        statuses = self.by_status()
        if experiment_id not in self._snapshots and (
            statuses.total() - statuses[Status.ARCHIVED] >= limit
        ):
            raise EngineError(
                "TOO_MANY_EXPERIMENTS",
                f"there are {limit} experiments that are not archived, and there may be no more; "
                "archive some, or raise EXPERIMENT_MAX_EXPERIMENTS",
            )

    def by_status(self) -> Counter[str]:
        """Return how many experiments there are in every status."""
        return Counter(str(found.experiment.status) for found in self._snapshots.values())

    def put(self, snapshot: Snapshot) -> bool:
        """Take a snapshot unless a newer one is here; return whether it was taken.

        One of the same version is taken instead of one of the previously active generation, since
        it may say something else, and instead of one whose evaluation failed, if its own did not.
        """
        experiment_id = snapshot.experiment.id
        before = self._snapshots.get(experiment_id)
        if before is not None and (
            _order(before) > _order(snapshot)
            or (_order(before) == _order(snapshot) and experiment_id not in self._left_over)
        ):
            return False
        # Compiled first: a snapshot that cannot be compiled changes nothing.
        running = RunningExperiment(snapshot) if snapshot.experiment.is_assigning else None
        if self._taken is not None:
            self._taken(snapshot)
        self._left_over.discard(experiment_id)
        self._snapshots[experiment_id] = snapshot
        if running is not None:
            self._running[experiment_id] = running
        else:
            self._running.pop(experiment_id, None)
        if before is not None and _is_concluded(snapshot) and not _is_concluded(before):
            self.conclusions += 1
            if snapshot.winner is not None:
                self.winner_confidences.append(snapshot.confidence)
        return True

    async def sweep(self) -> None:
        """Read everything that is new.

        Raises:
            DependencyError: Redis does not answer.
        """
        known = {
            name: snapshot.version
            for name, snapshot in self._snapshots.items()
            if name not in self._left_over and snapshot.failure is None
        }
        projected = await self._source.newer(known)
        is_of_known = projected.epoch == self._epoch
        self._take(projected)
        self._has_all = True
        if is_of_known and projected.names is not None:
            self._drop_ended(projected.names)
        if is_of_known and self._left_over and self._clock() > self._patient_until_s:
            self._give_up_left_over(projected)

    def _drop_ended(self, names: Collection[str]) -> None:
        """Forget archived experiments that Redis does not have any more: they have ended.

        Others are kept, as Redis may have been emptied.
        """
        ended = [
            name
            for name, snapshot in self._snapshots.items()
            if name not in names and snapshot.experiment.status is Status.ARCHIVED
        ]
        for name in ended:
            self._drop(name)
            self._left_over.discard(name)
            self.unreadable.pop(name, None)

    def _drop(self, name: str) -> None:
        snapshot = self._snapshots.pop(name)
        self._running.pop(name, None)
        if self._dropped is not None:
            self._dropped(snapshot)

    async def at_version(self, experiment_id: str, version: int, timeout_s: float) -> Snapshot:
        """Return an experiment once `version` commands have been applied to it.

        Raises:
            DependencyError: that is not seen within `timeout_s` seconds, or Redis does not answer.
        """
        deadline = self._clock() + timeout_s
        while True:
            known = self._snapshots.get(experiment_id)
            if known is not None and known.experiment.version >= version:
                return known
            if self._clock() > deadline:
                raise DependencyError(
                    "worker",
                    "the command took effect, and its result is not to be seen yet",
                    code="COMMAND_TIMED_OUT",
                )
            self._take(await self._source.snapshots([experiment_id]))
            if self._snapshots.get(experiment_id) is known:
                await asyncio.sleep(LOOK_S)

    def follow(self, background: BackgroundTasks) -> None:
        """Keep up with Redis, by tasks of `background`."""
        background.start("snapshots.sweep", self._sweep_for_ever)
        background.start("snapshots.listen", self._listen_for_ever)
        background.start("snapshots.fetch", self._fetch_announced)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except DependencyError as error:
                _log.warning("%s; going on with what is in memory", error.message)
                await asyncio.sleep(RECONNECT_S)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep_s):
                        await self._has_switched.wait()
                self._has_switched.clear()

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                async with aclosing(self._source.announcements()) as announcements:  # type: ignore[type-var]
                    async for announced in announcements:
                        self._heard_at_s = self._clock()
                        if announced is not None:
                            name, version = announced
                            self._announced[name] = version
                            self._has_announced.set()
            except DependencyError:  # the sweep tells, and reads what is missed meanwhile
                await asyncio.sleep(RECONNECT_S)

    async def _fetch_announced(self) -> None:
        while True:
            await self._has_announced.wait()
            await asyncio.sleep(GATHER_S)
            self._has_announced.clear()
            announced, self._announced = self._announced, {}
            wanted = [
                name
                for name, version in announced.items()
                if name not in self._snapshots or _order(self._snapshots[name]) < (version, True)
            ]
            try:
                found = await self._source.snapshots(wanted)
            except DependencyError:  # the sweep will find them
                continue
            self._take(found)

    def _take(self, projected: Projected) -> None:
        self._heard_at_s = self._clock()
        if projected.epoch < self._epoch:
            return  # read before a switch that has been seen since
        if projected.epoch > self._epoch:
            _log.info("another generation is active: reading everything afresh")
            self._epoch = projected.epoch
            self._left_over = set(self._snapshots)
            self._patient_until_s = self._clock() + SWITCH_PATIENCE_S
            self._has_switched.set()
        for name, reason in projected.unreadable.items():
            self._keep_last_good(name, reason)
        for snapshot in projected.snapshots:
            name = snapshot.experiment.id
            try:
                self.put(snapshot)
            except Exception as error:  # noqa: BLE001 - of one experiment, which keeps its last one
                self._keep_last_good(name, f"{type(error).__name__}: {error}")
            else:
                self.unreadable.pop(name, None)

    def _keep_last_good(self, name: str, reason: str) -> None:
        if self.unreadable.get(name) != reason:
            _log.error("the snapshot of %s cannot be used, keeping the last one: %s", name, reason)
        self.unreadable[name] = reason

    def _give_up_left_over(self, projected: Projected) -> None:
        """Take what there is of the new generation, or nothing, instead of what was left over."""
        _log.warning("%d experiments are not what they were before", len(self._left_over))
        for name in self._left_over:
            self._drop(name)
        self._left_over.clear()
        self._take(projected)


def _order(snapshot: Snapshot) -> tuple[int, bool]:
    """Return what makes a snapshot newer: its version, then statistics that are of that version."""
    return snapshot.version, snapshot.failure is None


def _is_concluded(snapshot: Snapshot) -> bool:
    return snapshot.experiment.concluded_at_ms is not None
