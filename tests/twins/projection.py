"""Redis as a projection, in memory: the twins of `ProjectionWriter` and `ProjectionReader`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.experiments.history import HistoryEntry, entries_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.time_points import TimePoint
from streams.model.errors import DependencyError
from streams.model.events import Answer
from streams.model.generations import FIRST, Generations
from streams.projection.reader import ProjectedSnapshots, in_order
from streams.projection.writer import HistoryRecord, SnapshotRecord
from streams.wire.snapshots import decode_snapshot, encode_snapshot

SILENCE_S = 0.01
"""Time without a message after which a subscriber is given None."""


def _order(record: SnapshotRecord) -> tuple[int, int, bool]:
    return record.n_commands, record.version, not record.is_failed


@dataclass(frozen=True)
class Heartbeat:
    """A worker that lives until a time of the monotonic clock."""

    until_s: float
    generation: int
    dead_letters: Mapping[str, int]
    misplaced: int
    lacking: Sequence[str]


@dataclass
class MemoryProjection:
    """Content of Redis of one installation, in all generations.

    Attributes:
        is_away: Whether every call fails, as without Redis.
        snapshots: Records by generation and experiment id.
        answers: Answers by command id.
        unanswered: Commands that get no answer, however long one waits.
        active: Generation that is active and the epoch of that change; None where nothing is said.
    """

    is_away: bool = False
    snapshots: defaultdict[int, dict[str, SnapshotRecord]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    answers: dict[str, Answer] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    active: Generations | None = None
    conclusions: dict[str, bytes] = field(default_factory=dict)
    histories: dict[str, HistoryRecord] = field(default_factory=dict)
    time_points: defaultdict[str, dict[int, bytes]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _heartbeats: dict[str, Heartbeat] = field(default_factory=dict)
    _marks: dict[int, str] = field(default_factory=dict)
    _subscribers: list[asyncio.Queue[tuple[str, int]]] = field(default_factory=list)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)
    _new_mark: itertools.count[int] = field(default_factory=itertools.count)

    def writer(self, generation: int = FIRST) -> MemoryProjectionWriter:
        return MemoryProjectionWriter(self, generation)

    def reader(self, generation: int = FIRST, *, is_pinned: bool = False) -> MemoryProjectionReader:
        return MemoryProjectionReader(self, generation, is_pinned=is_pinned)

    def put(self, snapshot: Snapshot, generation: int = FIRST) -> None:
        """Write and announce a snapshot as a worker does."""
        self.write(SnapshotRecord.of(snapshot, encode_snapshot(snapshot)), generation)

    def find(self, name: str, generation: int = FIRST) -> Snapshot | None:
        """Return the snapshot of an experiment, or None if it has none."""
        found = self.snapshots[generation].get(name)
        return None if found is None else decode_snapshot(found.payload)

    def snapshot(self, name: str) -> Snapshot:
        """Return the snapshot of an experiment that has one."""
        found = self.find(name)
        assert found is not None, name
        return found

    def flush(self) -> None:
        """Lose everything, as a Redis that was emptied."""
        self.active = None
        for held in (
            self.snapshots,
            self.conclusions,
            self.histories,
            self.time_points,
            self.answers,
            self._heartbeats,
            self._marks,
        ):
            held.clear()

    def write(self, record: SnapshotRecord, generation: int) -> bool:
        """Write and announce a record unless one as new is there; return whether it was written."""
        held = self.snapshots[generation]
        before = held.get(record.experiment_id)
        if before is not None and _order(before) >= _order(record):
            return False
        held[record.experiment_id] = record
        self.announce(record.experiment_id, record.version)
        return True

    def point(self, generations: Generations) -> None:
        """Take which generation is active, unless that is known of the same change or a newer."""
        if self.active is None or self.active.epoch < generations.epoch:
            self.active = generations
            self.announce("generation", generations.active)

    def announce(self, name: str, number: int) -> None:
        for subscriber in self._subscribers:
            subscriber.put_nowait((name, number))

    def check(self) -> None:
        if self.is_away:
            raise DependencyError("redis", "Redis does not answer")

    def mark(self, generation: int) -> str:
        """Return what identifies the contents of a generation until they are lost."""
        return self._marks.setdefault(generation, f"{next(self._new_mark)}")

    def remove(self, generation: int) -> int:
        self._marks.pop(generation, None)
        return len(self.snapshots.pop(generation, {}))

    def beat(self, worker_id: str, heartbeat: Heartbeat | None) -> None:
        if heartbeat is None:
            self._heartbeats.pop(worker_id, None)
        else:
            self._heartbeats[worker_id] = heartbeat

    def heartbeats(self) -> list[Heartbeat]:
        now_s = time.monotonic()
        return [each for each in self._heartbeats.values() if each.until_s > now_s]

    def answer(self, answer: Answer) -> None:
        self.answers[answer.command_id] = answer
        self._answered.set()
        self._answered = asyncio.Event()

    async def answered(self) -> None:
        """Return when the next answer is written."""
        await self._answered.wait()

    async def heard(self) -> AsyncIterator[tuple[str, int] | None]:
        """Yield what is announced from now on, and None in silence."""
        queue: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), SILENCE_S)
                except TimeoutError:
                    self.check()
                    yield None
        finally:
            self._subscribers.remove(queue)


class MemoryProjectionWriter:
    """A worker's side of a projection in memory."""

    def __init__(self, projection: MemoryProjection, generation: int) -> None:
        self._projection = projection
        self._generation = generation
        self._generations = Generations()

    def follow(self, generations: Generations) -> None:
        self._generations = generations

    async def write_snapshots(self, records: Sequence[SnapshotRecord]) -> int:
        self._projection.check()
        self._projection.point(self._generations)
        return sum(self._projection.write(record, self._generation) for record in records)

    async def remove(self, experiment_ids: Sequence[str]) -> None:
        self._projection.check()
        for name in experiment_ids:
            self._projection.snapshots[self._generation].pop(name, None)
            self._projection.conclusions.pop(name, None)
            self._projection.histories.pop(name, None)
            self._projection.time_points.pop(name, None)

    async def write_conclusions(self, payloads: Mapping[str, bytes]) -> None:
        self._projection.check()
        self._projection.conclusions.update(payloads)

    async def write_histories(self, records: Sequence[HistoryRecord]) -> None:
        self._projection.check()
        for record in records:
            known = self._projection.histories.get(record.experiment_id)
            if known is None or known.version <= record.version:
                self._projection.histories[record.experiment_id] = record

    async def write_answers(self, answers: Iterable[Answer]) -> None:
        self._projection.check()
        for answer in answers:
            self._projection.answer(answer)

    async def heartbeat(
        self,
        worker_id: str,
        ttl_s: int,
        dead_letters: Mapping[str, int] | None = None,
        *,
        misplaced: int = 0,
        lacking: Sequence[str] = (),
    ) -> str:
        self._projection.check()
        self._projection.point(self._generations)
        until_s = time.monotonic() + ttl_s
        heartbeat = Heartbeat(until_s, self._generation, dead_letters or {}, misplaced, lacking)
        self._projection.beat(worker_id, heartbeat)
        return self._projection.mark(self._generation)

    async def write_time_points(self, changes: Mapping[str, Mapping[int, bytes | None]]) -> None:
        self._projection.check()
        for name, points in changes.items():
            held = self._projection.time_points[name]
            for slot, value in points.items():
                if value is None:
                    held.pop(slot, None)
                else:
                    held[slot] = value

    async def time_point_slots(self, experiment_id: str) -> frozenset[int]:
        self._projection.check()
        return frozenset(self._projection.time_points[experiment_id])

    async def sign_off(self, worker_id: str) -> None:
        self._projection.check()
        self._projection.beat(worker_id, None)

    async def remove_snapshots(self) -> int:
        self._projection.check()
        return self._projection.remove(self._generation)


class MemoryProjectionReader:
    """The API's side of a projection in memory."""

    def __init__(
        self, projection: MemoryProjection, generation: int = FIRST, *, is_pinned: bool = False
    ) -> None:
        self._projection = projection
        self._is_pinned = is_pinned
        self._last = generation, 0

    async def snapshots(self, experiment_ids: Sequence[str]) -> ProjectedSnapshots:
        generation, epoch = self._active()
        return self._decoded(epoch, generation, experiment_ids)

    async def conclusion(self, experiment_id: str) -> Snapshot | None:
        self._projection.check()
        payload = self._projection.conclusions.get(experiment_id)
        return None if payload is None else decode_snapshot(payload)

    async def history(self, experiment_id: str) -> tuple[HistoryEntry, ...]:
        self._projection.check()
        record = self._projection.histories.get(experiment_id)
        return () if record is None else entries_of(record.payload)

    async def time_point_slots(self, experiment_id: str) -> list[int]:
        self._projection.check()
        return sorted(self._projection.time_points[experiment_id])

    async def time_points(self, experiment_id: str, slots: Sequence[int]) -> list[TimePoint]:
        self._projection.check()
        held = self._projection.time_points[experiment_id]
        return await in_order([held[slot] for slot in slots if slot in held])

    async def newer(self, known: Mapping[str, int]) -> ProjectedSnapshots:
        generation, epoch = self._active()
        held = self._projection.snapshots[generation]
        changed = [name for name in sorted(held) if known.get(name) != held[name].version]
        found = self._decoded(epoch, generation, changed)
        return ProjectedSnapshots(epoch, found.snapshots, found.unreadable, frozenset(held))

    async def active_generation(self) -> int:
        return self._active()[0]

    async def announcements(self) -> AsyncIterator[tuple[str, int] | None]:
        self._projection.check()
        async for announced in self._projection.heard():
            yield announced

    async def answer(self, command_id: str) -> Answer | None:
        self._projection.check()
        return self._projection.answers.get(command_id)

    async def wait_for_answer(self, command_id: str, timeout_s: float) -> Answer | None:
        if command_id in self._projection.unanswered:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                while (answer := await self.answer(command_id)) is None:
                    await self._projection.answered()
        except TimeoutError:
            return None
        return answer

    async def live_workers(self) -> list[dict[str, int]]:
        generation, _ = self._active()
        return [
            dict(each.dead_letters)
            for each in self._projection.heartbeats()
            if each.generation == generation
        ]

    async def misplaced(self) -> int:
        self._projection.check()
        return sum(each.misplaced for each in self._projection.heartbeats())

    async def lacking(self) -> tuple[str, ...]:
        self._projection.check()
        return tuple(
            sorted({right for each in self._projection.heartbeats() for right in each.lacking})
        )

    async def workers_by_generation(self) -> Counter[int]:
        self._projection.check()
        return Counter(each.generation for each in self._projection.heartbeats())

    def _active(self) -> tuple[int, int]:
        self._projection.check()
        active = self._projection.active
        if active is not None and not self._is_pinned:
            self._last = active.active, active.epoch
        return self._last

    def _decoded(self, epoch: int, generation: int, names: Sequence[str]) -> ProjectedSnapshots:
        held = self._projection.snapshots[generation]
        found, unreadable = [], {}
        for name in names:
            if name not in held:
                continue
            try:
                found.append(decode_snapshot(held[name].payload))
            except Exception as error:  # noqa: BLE001 - as the reader of Redis
                unreadable[name] = f"{type(error).__name__}: {error}"
        return ProjectedSnapshots(epoch, found, unreadable)
