"""Delivery of snapshots to the log, and of the decisions based on them, beside the evaluations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streams.analysis.auto_promotion import due_command
from streams.experiments.history import entries_json
from streams.experiments.snapshot import Snapshot
from streams.fold.basis import Basis
from streams.fold.decisions import recommended
from streams.fold.experiment_state import ExperimentState
from streams.model.ids import experiment_id
from streams.projection.writer import HistoryRecord
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.outbox import Outgoing
from streams.worker.outlets import Outlets
from streams.worker.pacing import follow
from streams.worker.pending import Pending
from streams.worker.point_recorder import PointRecorder
from streams.worker.projector import Projector

STEPS_AT_MOST = 0.95
"""Share of the time for steps, nearly all of which is waiting for the broker."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A snapshot to be delivered, with the state it was made from.

    Attributes:
        partition: Of the experiment.
        known: The state.
        snapshot: The snapshot.
        single: Its bytes as a single object.
        record: Its record for the log.
    """

    partition: int
    known: ExperimentState
    snapshot: Snapshot
    single: bytes
    record: Outgoing


class SnapshotDelivery:
    """The newest snapshot of every experiment that the log does not have yet.

    What becomes ready during a delivery is delivered together afterwards. So the snapshots of an
    experiment are logged in order, and under load some are left out: a newer one replaces the one
    that waits. What could not be delivered waits again.

    Args:
        stage: State of the experiments. What another worker has meanwhile is not delivered.
        outlets: Topics to write to.
        projector: Writes histories to Redis.
        follower: Knows whether this generation is active: an inactive one logs snapshots only.
        points: Records time series.
        may_decide: Returns whether all is known that other workers have decided. Until then,
            decisions wait.

    Attributes:
        turn: Held during a delivery. Who holds it has none begin.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        outlets: Outlets,
        projector: Projector,
        follower: GenerationFollower,
        points: PointRecorder,
        may_decide: Callable[[], bool],
    ) -> None:
        self._stage = stage
        self._outlets = outlets
        self._projector = projector
        self._follower = follower
        self._points = points
        self._commanded: set[str] = set()
        self._may_decide = may_decide
        self._waiting: dict[int, Evaluated] = {}
        self._undecided: Pending[int, Evaluated] = Pending()
        self._changed = asyncio.Event()
        self.turn = asyncio.Lock()

    def offer(self, evaluated: Iterable[Evaluated]) -> None:
        """Queue snapshots; each replaces an older one of its experiment."""
        for each in evaluated:
            self._waiting[each.known.number] = each
            self._changed.set()

    def wake(self) -> None:
        """Decide what waits for it, if that may be decided now."""
        self._changed.set()

    def offer_history(self, known: ExperimentState) -> None:
        """Offer the history of an experiment to the projector, if this generation is active."""
        if not self._follower.is_active:
            return
        version = known.last_offset, known.logged.n_logged
        name = experiment_id(known.number)
        if self._projector.is_newer_history(name, version):
            payload = entries_json(known.history())
            self._projector.offer_history(HistoryRecord(name, version, payload))

    async def run(self) -> None:
        """Deliver what is queued, indefinitely."""
        await follow(self._changed, self.flush, at_most=STEPS_AT_MOST)

    async def flush(self) -> None:
        """Deliver what is queued: snapshots to the log, then the decisions based on them.

        Raises:
            TimeoutError: this took too long.
            KafkaError: the broker refused a record.
            DependencyError: the producer of a worker that stops has stopped.
        """
        async with self.turn:
            waiting, self._waiting = self._waiting, {}
            own = [each for each in waiting.values() if self._is_own(each)]
            try:
                if own:
                    await self._outlets.send_snapshots([each.record for each in own])
            except BaseException:
                self._waiting = waiting | self._waiting
                raise
            for each in filter(self._is_own, own):  # another worker may have it by now
                self._points.offer(each.snapshot)
                self._undecided[each.known.number] = each
            for number, each in list(self._undecided.items()):
                if not self._may_decide():
                    break
                if self._is_own(each):
                    await self._decide(each.partition, each.known, each.snapshot)
                self._undecided.confirm({number: each})

    def _is_own(self, evaluated: Evaluated) -> bool:
        known = evaluated.known
        is_same = self._stage.known(evaluated.partition, known.number) is known
        return is_same and not known.is_ended

    async def _decide(self, partition: int, known: ExperimentState, snapshot: Snapshot) -> None:
        """Log what a snapshot recommends, unless another worker has decided on a newer state.

        A worker that takes over an experiment may have fewer cells at first than the one before it.
        """
        action, logged = snapshot.recommended_action, known.logged
        generation = self._follower.generation
        if self._follower.is_active and Basis.of(snapshot, generation).is_behind(logged.basis):
            return
        if action is not known.action:
            if self._follower.is_active:
                decision = recommended(snapshot, generation, logged.n_logged + 1)
                await self._outlets.send_decision(decision)
                since_ms = known.entries[-1].at_ms if known.entries else 0
                known.logged = logged.followed_by(decision, since_ms)
            self._stage.note_action(partition, known, action)
            self.offer_history(known)
        # Without the right to write commands, winners are not promoted automatically.
        is_asked = self._follower.is_active and self._outlets.may_command()
        command = due_command(snapshot) if is_asked else None
        if command is not None and command.command_id not in self._commanded:
            await self._outlets.send_command(command)
            self._commanded.add(command.command_id)
