"""The partitions of the source topics, folded side by side on all cores."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from schemas.codec import Codec
from streams.fold.garbage_collection import collect_seldom
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.partition import PartitionFold
from streams.fold.records import Folding
from streams.kafka.records import LogSource, OffsetRange, StoredRecord, all_records
from streams.model.receipts import Keyring
from streams.replay.captures import Advance, CellsAtOffsets, capture
from streams.settings import Settings
from streams.tallies.cell import Source
from streams.tallies.plan import PLAIN, Plan
from streams.wire.framing import Framing, decoding

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class FoldInputs:
    """Inputs of a fold besides the log; other inputs would change the counts.

    Attributes:
        receipt_keys: Keys that verify receipts, as `id:hex,id:hex`.
        limit: Events remembered per experiment and partition.
        registry_url: Schema registry that the records may refer to; None without one.
        until_ms: Records that Kafka took later are left out; None without one.
        plans: Measurement plans of the experiments, as `commands` has them, or as is supposed. One
            without is measured plainly.
        partitions: Partitions of `observations`, which decide where a receipt belongs; None to
            have the log asked.
    """

    receipt_keys: str = field(repr=False)
    limit: int
    registry_url: str | None = None
    until_ms: int | None = None
    plans: Mapping[int, Plan] = field(default_factory=dict)
    partitions: int | None = None

    @classmethod
    def of(cls, settings: Settings, until_ms: int | None = None) -> FoldInputs:
        """Return what an installation folds with.

        Raises:
            ConfigurationError: it has no receipt keys.
        """
        return cls(
            settings.signing_keys,
            settings.deduplication_max_entries,
            settings.schema_registry_url,
            until_ms,
        )

    @property
    def key_ids(self) -> tuple[int, ...]:
        """Ids of the receipt keys, without the secrets."""
        return Keyring.parse(self.receipt_keys).ids

    @contextmanager
    def reading(self, source: LogSource) -> Iterator[LogReading]:
        """Open what decodes the records of `source`.

        Raises:
            DependencyError: the schema registry does not answer.
        """
        with asyncio.Runner() as runner:
            frames = decoding(self.registry_url)
            opened = runner.run(frames.__aenter__())
            try:
                yield LogReading(source, opened, runner, self.until_ms)
            finally:
                runner.run(frames.__aexit__(None, None, None))


class LogReading:
    """Records that can be decoded, and their codec.

    Args:
        source: Where they come from.
        frames: Learns their schemas.
        runner: Runs what waits for a registry.
        until_ms: Records that Kafka took later are left out; None without one.
    """

    def __init__(
        self, source: LogSource, frames: Framing, runner: asyncio.Runner, until_ms: int | None
    ) -> None:
        self.source = source
        self._frames = frames
        self._runner = runner
        self._until_ms = until_ms

    @property
    def codec(self) -> Codec:
        """The codec, with every schema that the records so far have named."""
        return self._frames.codec

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there, as `LogSource.spans` does."""
        return self.source.spans(topic)

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield records as `LogSource.read` does, once their schemas are known."""
        for records in self.source.read(topic, partition, begin, end):
            chosen = records
            if self._until_ms is not None:
                chosen = [record for record in records if record.timestamp <= self._until_ms]
            self._runner.run(self._frames.prepare(record.value for record in chosen))
            yield chosen

    def all(self, topic: str) -> Iterator[tuple[int, StoredRecord]]:
        """Yield (partition, record) of all that is in a topic now."""
        return all_records(self, topic)


@dataclass(frozen=True, slots=True)
class Part:
    """A partition to be folded.

    Attributes:
        source: The topic.
        partition: The partition.
        end: Offset after the last record to be folded.
        wanted: Experiments by the offset at which their cells are wanted.
    """

    source: Source
    partition: int
    end: int
    wanted: Mapping[int, Collection[int]] = field(default_factory=dict)


Parts = dict[tuple[Source, int], CellsAtOffsets]

FoundT = TypeVar("FoundT")

Work = Callable[[LogSource, FoldInputs, Part, Advance], FoundT]
"""Folds one partition; to be done in other processes it must be picklable, and what it returns."""


def fold_parts(
    source: LogSource, inputs: FoldInputs, parts: Sequence[Part], processes: int, progress: Advance
) -> Parts:
    """Fold partitions from their beginning, several at a time, and return the wanted cells.

    Args:
        source, inputs, parts, processes, progress: As in `side_by_side`.

    Raises:
        LogError: records are missing.
        DependencyError: the source does not answer.
    """
    return side_by_side(_fold, source, inputs, parts, processes, progress)


def side_by_side(
    work: Work[FoundT],
    source: LogSource,
    inputs: FoldInputs,
    parts: Sequence[Part],
    processes: int,
    progress: Advance,
) -> dict[tuple[Source, int], FoundT]:
    """Return what some work gives of each partition, done for several at a time.

    Args:
        work: What is done with a partition.
        source: The log; with several processes it must be picklable.
        inputs: What is folded with.
        parts: The partitions.
        processes: How many at a time; with 1 it is done in this process.
        progress: Called with the numbers of offsets passed and of events folded, since the
            last call.

    Raises:
        LogError: records are missing.
        DependencyError: the source does not answer.
    """
    if inputs.partitions is None and any(part.source is Source.OBSERVATIONS for part in parts):
        inputs = replace(inputs, partitions=max(source.spans(Source.OBSERVATIONS.value)) + 1)
    # The longest first: what is left at the end should be short.
    ordered = sorted(parts, key=lambda part: -part.end)
    if processes == 1 or len(parts) <= 1:
        collect_seldom()
        return {
            (part.source, part.partition): work(source, inputs, part, progress) for part in ordered
        }
    context = multiprocessing.get_context("spawn")  # librdkafka does not survive a fork
    counters = context.Array("Q", 2)
    done: dict[tuple[Source, int], FoundT] = {}
    with ProcessPoolExecutor(
        min(processes, len(parts)), context, initializer=_start, initargs=(counters,)
    ) as pool:
        running: dict[Future[FoundT], Part] = {
            pool.submit(_work_there, work, source, inputs, part): part for part in ordered
        }
        shown = (0, 0)
        try:
            while running:
                finished, _ = wait(running, LOOK_EVERY_S, FIRST_COMPLETED)
                offsets, events = counters[:]
                progress(offsets - shown[0], events - shown[1])
                shown = offsets, events
                for future in finished:
                    part = running.pop(future)
                    done[part.source, part.partition] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _folding(inputs: FoldInputs, source: Source, codec: Codec) -> Folding[PartitionFold]:
    def plan_of(experiment: int) -> Plan:
        return inputs.plans.get(experiment, PLAIN)

    keyring = Keyring.parse(inputs.receipt_keys)
    folding: Any = (
        ImpressionFolding(codec, keyring, inputs.limit, plan_of)
        if source is Source.IMPRESSIONS
        else ObservationFolding(codec, keyring, inputs.limit, plan_of, inputs.partitions)
    )
    return cast(Folding[PartitionFold], folding)


def _fold(source: LogSource, inputs: FoldInputs, part: Part, advance: Advance) -> CellsAtOffsets:
    with inputs.reading(source) as reading:
        return capture(
            _folding(inputs, part.source, reading.codec),
            part.partition,
            reading.read(part.source.value, part.partition, 0, part.end),
            part.wanted,
            advance,
        )


class _ProcessState:
    """State of a process of the pool."""

    counters: Any = None


def _start(counters: Any) -> None:
    collect_seldom()
    _ProcessState.counters = counters


def _work_there(work: Work[FoundT], source: LogSource, inputs: FoldInputs, part: Part) -> FoundT:
    def advance(offsets: int, events: int) -> None:
        with _ProcessState.counters.get_lock():
            _ProcessState.counters[0] += offsets
            _ProcessState.counters[1] += events

    return work(source, inputs, part, advance)
