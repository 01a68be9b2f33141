"""Live state: the newest cells, the newest snapshots, and the decisions.

Everything is read before the commands and events it was made from, so a system that continues
meanwhile is always behind the log it is compared with.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from schemas import catalogue
from schemas.codec import Codec
from streams.experiments.snapshot import Snapshot
from streams.experiments.time_points import TimePoint
from streams.fold.basis import Basis
from streams.fold.decisions import generation_of
from streams.model.errors import EventError
from streams.model.events import CONCLUSION, Decision
from streams.model.generations import FIRST
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.reader import ProjectionReader
from streams.replay.partitions import LogReading
from streams.settings import Settings
from streams.tallies.cell import Cell, Source
from streams.wire.cells import decode_cell
from streams.wire.decisions import decode_decision
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import decode_snapshot
from streams.wire.time_points import decode_time_point

COMMAND = "command"
"""Kind of the decision about a command; other kinds are recommended actions."""

POINTS_COMPARED = 16
"""Points of a time series that are compared: for each, all of its cells are kept in memory."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LiveValue(Generic[T]):
    """A live value and where it was found.

    Attributes:
        place: `topic/partition@offset`, or `redis`.
        value: The value.
    """

    place: str
    value: T


@dataclass(slots=True)
class LiveState:
    """Live state.

    Attributes:
        cells: Newest cells by experiment, source and partition. Cells of a place and offset should
            be equal; of those that are not, each is here.
        snapshots: Newest snapshot of every experiment, and those that actions were decided on.
        projected: Snapshots of Redis; None when Redis was not asked.
        conclusions: The first snapshot as of the conclusion of every experiment in `decisions`, of
            this generation.
        points: Points of the time series of every experiment, of this generation; of more than
            `POINTS_COMPARED` so many, evenly spread, the first and the last among them.
        decisions: All other decisions, in the order of their topic.
        n_earlier: Number of them that were read before the snapshots.
        unreadable: Records that cannot be decoded, by topic.
    """

    cells: dict[tuple[int, Source, int], list[LiveValue[Cell]]] = field(default_factory=dict)
    snapshots: dict[int, list[LiveValue[Snapshot]]] = field(default_factory=dict)
    projected: dict[int, LiveValue[Snapshot]] | None = None
    conclusions: dict[int, LiveValue[Snapshot]] = field(default_factory=dict)
    points: dict[int, list[LiveValue[TimePoint]]] = field(default_factory=dict)
    decisions: list[LiveValue[Decision]] = field(default_factory=list)
    n_earlier: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)

    def newest(self, experiment: int) -> Snapshot | None:
        """Return the newest snapshot of an experiment in the log."""
        found = self.snapshots.get(experiment)
        return max((each.value for each in found), key=_order) if found else None

    def all_snapshots(self) -> Iterator[LiveValue[Snapshot]]:
        """Yield every snapshot, those of the log first."""
        for _, found in sorted(self.snapshots.items()):
            yield from found
        for held in (self.conclusions, self.projected or {}):
            for _, placed in sorted(held.items()):
                yield placed


Projection = Callable[[], Sequence[Snapshot]]


def read_live(
    reading: LogReading, projection: Projection | None, generation: int = FIRST
) -> LiveState:
    """Return what is live of a generation.

    Args:
        reading: The topics.
        projection: Reads the snapshots of Redis; None leaves Redis out.
        generation: Which one.

    Raises:
        LogError, DependencyError: it cannot be read.
    """
    live = LiveState()
    ends = _read_decisions(reading, live, {}, generation)
    live.n_earlier = len(live.decisions)
    _read_cells(reading, live, generation)
    bases = defaultdict(set)
    for decision in live.decisions:
        if decision.value.kind != COMMAND:
            bases[decision.value.experiment].add(Basis.of_decision(decision.value))
    _read_snapshots(reading, live, bases, generation)
    _read_points(reading, live, generation)
    if projection is not None:
        live.projected = {
            snapshot.experiment.number: LiveValue("redis", snapshot) for snapshot in projection()
        }
    # An action is logged after its snapshot.
    _read_decisions(reading, live, ends, generation)
    return live


def projection_of(settings: Settings) -> Projection:
    """Return what reads the snapshots of the settings' generation in an installation's Redis.

    It raises a DependencyError when Redis does not answer, and an EventError when what it holds is
    not a snapshot.
    """

    async def read() -> Sequence[Snapshot]:
        redis = connect(settings.redis_url)
        try:
            keys = Keys(settings.namespace, settings.generation)
            return (await ProjectionReader(redis, keys, is_pinned=True).newer({})).all()
        finally:
            await redis.aclose()

    return lambda: asyncio.run(read())


def _read_decisions(
    reading: LogReading, live: LiveState, begins: Mapping[int, int], generation: int
) -> dict[int, int]:
    """Read on from `begins`, and return where that ended."""
    topic = catalogue.DECISIONS.name
    ends = {}
    for partition, span in sorted(reading.source.spans(topic).items()):
        begin, ends[partition] = begins.get(partition, span.begin), span.end
        for records in reading.read(topic, partition, begin, span.end):
            for record in records:
                place = f"{topic}/{partition}@{record.offset}"
                decision = _decoded(live, topic, decode_decision, record.value, reading.codec)
                if decision is None:
                    continue
                if decision.kind == CONCLUSION:
                    _note_conclusion(live, LiveValue(place, decision), generation)
                else:
                    live.decisions.append(LiveValue(place, decision))
    return ends


def _note_conclusion(live: LiveState, placed: LiveValue[Decision], generation: int) -> None:
    """Note the snapshot as of a conclusion: the first of an experiment is its report."""
    decision = placed.value
    is_own = generation_of(decision) == generation
    if not is_own or decision.experiment in live.conclusions:
        return
    snapshot = _decoded(
        live, catalogue.DECISIONS.name, decode_snapshot, decision.snapshot, SINGLE_OBJECT
    )
    if snapshot is not None:
        live.conclusions[decision.experiment] = LiveValue(placed.place, snapshot)


def _read_cells(reading: LogReading, live: LiveState, generation: int) -> None:
    topic = catalogue.of_generation(catalogue.TALLIES, generation).name
    for place, cell in _values(reading, live, topic, decode_cell):
        key = cell.experiment, cell.source, cell.partition
        known = live.cells.get(key, [])
        if not known or cell.last_offset > known[0].value.last_offset:
            live.cells[key] = [LiveValue(place, cell)]
        elif cell.last_offset == known[0].value.last_offset and all(
            cell != each.value for each in known
        ):
            known.append(LiveValue(place, cell))


def _read_snapshots(
    reading: LogReading, live: LiveState, bases: Mapping[int, set[Basis]], generation: int
) -> None:
    newest: dict[int, LiveValue[Snapshot]] = {}
    topic = catalogue.of_generation(catalogue.POSTERIORS, generation).name
    for place, snapshot in _values(reading, live, topic, decode_snapshot):
        number = snapshot.experiment.number
        if number not in newest or snapshot.order >= newest[number].value.order:
            newest[number] = LiveValue(place, snapshot)
        basis = Basis.of(snapshot, generation)
        if not bases.get(number, set()).isdisjoint({basis, basis.unstated}):
            live.snapshots.setdefault(number, []).append(LiveValue(place, snapshot))
    for number, placed in newest.items():
        kept = live.snapshots.setdefault(number, [])
        if placed not in kept:
            kept.append(placed)


def _read_points(reading: LogReading, live: LiveState, generation: int) -> None:
    """Read the points that are there: of a key the newest record."""
    topic = catalogue.TIMESERIES.name
    found: dict[bytes | None, LiveValue[TimePoint]] = {}
    for partition, record in reading.all(topic):
        found.pop(record.key, None)
        if record.value is None:
            continue
        point = _decoded(live, topic, decode_time_point, record.value, reading.codec)
        if point is not None and point.generation == generation:
            found[record.key] = LiveValue(f"{topic}/{partition}@{record.offset}", point)
    for placed in sorted(found.values(), key=lambda each: each.value.at_ms):
        live.points.setdefault(placed.value.experiment, []).append(placed)
    for points in live.points.values():
        points[:] = _spread(points)


def _spread(points: Sequence[T]) -> list[T]:
    """Return at most `POINTS_COMPARED` of some points, evenly spread."""
    last = len(points) - 1
    if last < POINTS_COMPARED:
        return list(points)
    steps = POINTS_COMPARED - 1
    return [points[round(step * last / steps)] for step in range(POINTS_COMPARED)]


def _values(
    reading: LogReading, live: LiveState, topic: str, decode: Callable[[bytes | None, Codec], T]
) -> Iterator[tuple[str, T]]:
    for partition, record in reading.all(topic):
        if record.value is None:
            continue
        value = _decoded(live, topic, decode, record.value, reading.codec)
        if value is not None:
            yield f"{topic}/{partition}@{record.offset}", value


def _decoded(
    live: LiveState,
    topic: str,
    decode: Callable[[bytes | None, Codec], T],
    value: bytes | None,
    codec: Codec,
) -> T | None:
    try:
        return decode(value, codec)
    except EventError:
        live.unreadable[topic] += 1
        return None


def _order(snapshot: Snapshot) -> tuple[int, int, bool]:
    return snapshot.order
