"""Recording of time series: points to the log and to Redis, and the removal of thinned ones."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

import faust

from schemas.codec import Codec
from streams.experiments.snapshot import Snapshot
from streams.experiments.thinning import SLOT_MS, thinned, width_at
from streams.experiments.time_points import TimePoint, has_point, point_of
from streams.model.ids import experiment_id, experiment_number
from streams.projection.writer import ProjectionWriter
from streams.wire.homes import home_of
from streams.wire.records import SINGLE_OBJECT
from streams.wire.time_points import encode_time_point, time_point_key
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.logged_points import LoggedPoints
from streams.worker.outbox import Outgoing, deliver
from streams.worker.pacing import follow

INTERVAL_S = 0.25
"""Shortest time between two writes."""

UNWRITTEN_AT_MOST = 20_000
"""Points that wait for Redis; beyond, they are read from the log again when Redis is available."""

Points = dict[int, bytes | None]
"""Encoded points by slot; None to remove a point."""


class PointRecorder:
    """Recorder of the points of the experiments of this worker.

    The first offered snapshot of a bucket becomes its point, at most one point per experiment waits
    to be written, and a point is durable in the log before it is in Redis. A point lost in a crash
    is replaced by the next snapshot of the bucket. The slots with a point are read from the log
    after every change of the writer: when a generation becomes active, or when this worker gets a
    partition.

    Args:
        stage: Experiments of this worker.
        topic: The topic `timeseries`.
        writer: Writes to Redis.
        logged: The points in the log.
        codec: Encodes records of the log; Redis has single objects.
        follower: Knows whether this generation is active. Others record nothing.
        partitions: Partitions of the topic.
        timeout_s: Longest wait for the broker, in seconds.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        topic: faust.TopicT,
        writer: ProjectionWriter,
        logged: LoggedPoints,
        codec: Codec,
        follower: GenerationFollower,
        *,
        partitions: int,
        timeout_s: float,
    ) -> None:
        self._stage = stage
        self._topic = topic
        self._writer = writer
        self._logged = logged
        self._codec = codec
        self._follower = follower
        self._partitions = partitions
        self._timeout = timeout_s
        self._due: dict[int, TimePoint] = {}
        self._next: dict[int, int] = {}
        self._removed: dict[int, None] = {}
        self._unwritten: defaultdict[int, Points] = defaultdict(dict)
        self._read_at = -1, -1
        self._changed = asyncio.Event()

    def offer(self, snapshot: Snapshot) -> None:
        """Accept a snapshot if it is the first of a bucket of its experiment."""
        number = snapshot.experiment.number
        if snapshot.as_of_ms < self._next.get(number, 0) or number in self._due:
            return
        if self._follower.is_active and has_point(snapshot):
            self._due[number] = point_of(snapshot, self._follower.generation)
            self._changed.set()

    def remove(self, experiment_ids: Iterable[str]) -> None:
        """Queue the removal of the points of ended experiments."""
        self._removed.update(dict.fromkeys(map(experiment_number, experiment_ids)))
        self._changed.set()

    def project_again(self) -> None:
        """Write all points again to a Redis that has lost them."""
        self._read_at = -1, -1
        self._logged.forget()
        self._changed.set()

    async def run(self) -> None:
        """Write what is offered, indefinitely."""
        await follow(self._changed, self._step, interval_s=INTERVAL_S)

    async def _step(self) -> None:
        if not self._follower.is_active:
            self._due.clear()
            self._removed.clear()
            return
        await self._read()
        due, removed = self._due, self._removed
        self._due, self._removed = {}, {}
        try:
            changes = {
                number: changed
                for number, point in due.items()
                if (changed := self._changes(point)) is not None
            }
            gone: dict[int, Points] = {
                number: dict.fromkeys(self._logged.of(number)) for number in removed
            }
            await deliver(self._topic, self._records(due, changes | gone), self._timeout)
        except BaseException:
            self._due, self._removed = due | self._due, removed | self._removed
            raise
        for number, points in (changes | gone).items():
            self._take(number, points)
            for slot, value in points.items():
                self._logged.note(number, slot, is_there=value is not None)
        for number in removed:
            self._next.pop(number, None)
        await self._project()

    def _changes(self, point: TimePoint) -> Points | None:
        """Return the changes of a point to the log of its series; None if it is not part of it."""
        number, slot = point.experiment, point.slot
        known = self._stage.known(self._partition(number), number)
        if known is None or known.is_ended:  # another worker has it now, or it has ended since
            return None
        slots = list(self._logged.of(number))
        if not slots or slot > slots[-1]:
            slots.append(slot)
        kept = thinned(slots, slots[-1])
        width = width_at(slots[0], slots[-1])
        self._next[number] = (slots[-1] // width + 1) * width * SLOT_MS
        if slot != kept[-1] or slot in self._logged.of(number):
            return None
        changed: Points = dict.fromkeys(set(slots).difference(kept))
        return changed | {slot: encode_time_point(point)}

    def _records(
        self, due: Mapping[int, TimePoint], changes: Mapping[int, Points]
    ) -> Iterable[Outgoing]:
        for number, points in changes.items():
            for slot, single in sorted(points.items()):
                value = single
                if single is not None and self._codec is not SINGLE_OBJECT:
                    value = encode_time_point(due[number], self._codec)
                yield Outgoing(time_point_key(number, slot), value, self._partition(number))

    def _partition(self, number: int) -> int:
        return home_of(number, self._partitions)

    def _take(self, number: int, points: Points) -> None:
        self._unwritten[number] |= points

    async def _read(self) -> None:
        """Read points written by others, and queue them for Redis."""
        now = self._follower.generations.epoch, self._stage.restorations
        if now == self._read_at:
            return
        spans = await asyncio.to_thread(self._logged.spans)
        own = {partition for partition, _ in self._stage.all_known()}
        for partition in sorted(own & spans.keys()):
            is_first = not self._logged.is_read(partition)
            batches = self._logged.changes(partition, spans[partition])
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                for number, slot, value in batch:
                    self._unwritten[number][slot] = value
                await self._project()
            if is_first:
                await self._remove_unknown(partition)
        self._next.clear()
        self._read_at = now

    async def _remove_unknown(self, partition: int) -> None:
        """Remove from Redis what the log of a partition no longer has."""
        for place, known in list(self._stage.all_known()):
            if place == partition:
                there = await self._writer.time_point_slots(experiment_id(known.number))
                gone = there.difference(self._logged.of(known.number))
                self._unwritten[known.number] |= dict.fromkeys(gone)
        await self._project()

    async def _project(self) -> None:
        """Write queued points to Redis.

        Raises:
            DependencyError: Redis does not answer; unwritten points are kept, or read from the log
                again.
        """
        waiting, self._unwritten = self._unwritten, defaultdict(dict)
        try:
            await self._writer.write_time_points(
                {experiment_id(number): points for number, points in waiting.items()}
            )
        except BaseException:
            if sum(map(len, waiting.values())) > UNWRITTEN_AT_MOST:
                self.project_again()
            else:
                for number, points in self._unwritten.items():
                    waiting[number] |= points
                self._unwritten = waiting
                self._changed.set()
            raise
