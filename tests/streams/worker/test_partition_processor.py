"""Partition processors in gaps, rebalances, failures, and at the end.

The order of the steps, and interruptions between them, are in `test_durability`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from streams.fold.records import never
from streams.model.errors import ConfigurationError, DependencyError, NewerEntryError
from streams.model.events import Answer, Decision
from streams.settings import Settings
from streams.wire.framing import Framing
from streams.wire.records import SINGLE_OBJECT
from streams.worker import partition_processor
from streams.worker.app import make_app
from streams.worker.partition_processor import (
    BatchOutcome,
    PartitionProcessor,
    identity_key,
    progress_key,
)
from streams.worker.tables import DurableTable
from streams.worker.transport import FetchBatch
from tests.patience import patience, until_true
from tests.twins.kafka import MemoryBroker, MemoryProducer, Process

BRIEFLY_S = 0.2
SETTINGS = Settings(partitions=2)
SOURCE, OTHER = TP("observations", 0), TP("observations", 1)


class ExitError(BaseException):
    """The end of the process."""


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    def end(reason: str) -> None:
        raise ExitError(reason)

    monkeypatch.setattr(partition_processor, "die", end)
    monkeypatch.setattr(partition_processor, "refuse", lambda reason: end(f"refused: {reason}"))


@dataclass
class RecordingStage:
    """A stage that notes what it is called with, and returns what it is given."""

    folded: list[tuple[int, list[int]]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    outcome: Callable[[], BatchOutcome] = BatchOutcome
    failure: BaseException | None = None

    def restore(self, partition: int, _table: DurableTable) -> None:
        self.calls.append(("restore", partition))
        if self.failure is not None:
            raise self.failure

    def fold(
        self,
        _topic: str,
        partition: int,
        records: Sequence[Any],
        _is_due: Callable[[], bool] = never,
    ) -> BatchOutcome:
        self.folded.append((partition, [record.offset for record in records]))
        if self.failure is not None:
            raise self.failure
        return self.outcome()

    def on_durable(self, topic: str, partition: int, answers: Sequence[Answer] = ()) -> None:
        self.calls.append(("on_durable", topic, partition, *answers))

    def release(self, partition: int) -> None:
        self.calls.append(("release", partition))


@dataclass
class Event:
    """A fetched batch, as the stream of an agent gives it."""

    tp: TP
    value: FetchBatch
    generation_id: int = 1
    is_acknowledged: bool = False

    @property
    def message(self) -> Any:
        return SimpleNamespace(
            tp=self.tp, partition=self.tp.partition, generation_id=self.generation_id
        )

    def ack(self) -> None:
        self.is_acknowledged = True


class Subject:
    """A processor over a broker in memory.

    Attributes:
        assigned: The source partitions of this worker.
        published: Outcomes whose side effects were published.
    """

    def __init__(self, *assigned: TP) -> None:
        self.assigned = set(assigned)
        self.broker = MemoryBroker(2)
        self.app = make_app(SETTINGS)
        self.app.producer = cast(
            Any, MemoryProducer(self.app, self.broker, Process(), random.Random(0))
        )
        self.app.consumer = cast(Any, self)
        self.app.consumer_generation_id = 1
        self.app.identities = cast(Any, self)
        self.topic_id = "first"
        self.framing = Framing(SINGLE_OBJECT)
        self.stage = RecordingStage()
        self.published: list[BatchOutcome] = []
        self.table = DurableTable(
            self.app, name="state", key_type=bytes, value_type=bytes, partitions=2
        )
        self.processor = PartitionProcessor(
            self.app,
            self.table,
            cast(Any, self.stage),
            [SOURCE.topic],
            self.framing,
            _unexpected,
            self._publish,
            write_timeout_s=30.0,
        )

    async def _publish(self, outcome: BatchOutcome) -> None:
        self.published.append(outcome)

    # A consumer.
    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, tp: TP) -> int:
        return self.broker.end(tp)

    async def earliest_offsets(self, tp: TP) -> dict[TP, int]:
        return {tp: self.broker.begin(tp)}

    # The identities of topics.
    def get(self, _topic: str) -> str:
        return self.topic_id

    def check(self, topic: str, kept: str) -> None:
        if kept != self.topic_id:
            raise ConfigurationError("made anew", topic)

    async def rebalance(self, *assigned: TP) -> None:
        """Have the tables recovered after a rebalance."""
        self.assigned = set(assigned)
        await self.table.call_recover_callbacks()

    def append(self, tp: TP, count: int = 1) -> None:
        for _ in range(count):
            self.broker.append(tp, None, b"value")

    def event(self, tp: TP, begin: int, end: int, **options: Any) -> Event:
        """Return the batch of the records in [begin, end)."""
        records = [each for each in self.broker.read(tp, begin) if each.offset < end]
        return Event(tp, FetchBatch(begin, records, 0, **options))

    async def run(self, *events: Event) -> None:
        """Process events that come at once, until each is acknowledged."""

        async def come() -> AsyncIterator[Event]:
            for event in events:
                yield event
            while not all(event.is_acknowledged for event in events):  # noqa: ASYNC110
                await asyncio.sleep(0)

        stream: Any = SimpleNamespace(noack=lambda: SimpleNamespace(events=come))
        async with patience():
            await self.processor.run(stream)

    def written_together(self) -> list[list[bytes]]:
        """Return a list that gets the keys of each Kafka batch of the table, one partition's."""
        producer, written = cast(Any, self.app.producer), list[list[bytes]]()
        run_broker = producer._run_broker

        def note() -> None:
            written.extend([each.key for each in queue] for queue in producer._queues.values())
            run_broker()

        producer._run_broker = note
        return written

    def progress(self, tp: TP) -> int:
        """Return the last offset that is durably folded."""
        entry = self.table.get_entry(tp.partition, progress_key(*tp))
        assert entry is not None
        return entry[0]


async def _unexpected(_experiment: int) -> None:
    raise AssertionError


async def subject(*assigned: TP, records: int = 0) -> Subject:
    made = Subject(*assigned)
    for tp in assigned:
        made.append(tp, records)
    await made.rebalance(*assigned)
    made.stage.calls.clear()
    return made


def exit_of(group: BaseExceptionGroup[Any]) -> str:
    """Return why the process ended."""
    found = group.exceptions[0]
    assert isinstance(found, ExitError)
    return str(found)


def exit_cause(group: BaseExceptionGroup[Any]) -> BaseException | None:
    """Return what the process met before it ended."""
    return group.exceptions[0].__context__


async def test_batches_that_wait_together_are_folded_at_once_and_each_is_acknowledged():
    here = await subject(SOURCE, OTHER, records=4)
    events = [here.event(SOURCE, 0, 1), here.event(OTHER, 0, 4), here.event(SOURCE, 1, 4)]

    await here.run(*events)

    assert sorted(here.stage.folded) == [(0, [0, 1, 2, 3]), (1, [0, 1, 2, 3])]
    assert here.progress(SOURCE) == 3


async def test_batches_that_wait_are_cut_at_the_bound_of_records(monkeypatch):
    monkeypatch.setattr(partition_processor, "MAX_BATCH_RECORDS", 3)
    here = await subject(SOURCE, records=5)

    await here.run(*(here.event(SOURCE, *cut) for cut in ((0, 2), (2, 3), (3, 5))))

    assert here.stage.folded == [(0, [0, 1, 2]), (0, [3, 4])]


@pytest.fixture
def one_by_one(monkeypatch):
    """Have batches processed one by one that wait together, and their progress wait for long."""
    monkeypatch.setattr(partition_processor, "MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr(partition_processor, "QUIET_S", 3_600.0)


async def test_progress_is_the_first_record_of_the_next_write_and_alone_in_the_last(one_by_one):
    here = await subject(SOURCE, records=3)
    here.stage.outcome = lambda: BatchOutcome(entries={b"c": (len(here.stage.folded) - 1, b"")})
    written = here.written_together()

    with suppress(TimeoutError):
        async with asyncio.timeout(BRIEFLY_S):
            await here.run(*(here.event(SOURCE, n, n + 1) for n in range(3)))
    await here.processor._finish(SOURCE.partition)

    progress = progress_key(*SOURCE)
    assert written == [
        [b"c", identity_key(*SOURCE)],
        [progress, b"c"],
        [progress, b"c"],
        [progress],
    ]


async def test_a_batch_is_acknowledged_when_the_next_one_is_durable_or_none_comes(monkeypatch):
    here = await subject(SOURCE, records=2)
    first, last = here.event(SOURCE, 0, 1), here.event(SOURCE, 1, 2)
    monkeypatch.setattr(partition_processor, "MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr(partition_processor, "QUIET_S", 0.0)

    await here.run(first, last)

    assert first.is_acknowledged
    assert last.is_acknowledged
    assert here.processor._in_flight == set()


async def test_records_that_come_again_are_acknowledged_with_their_progress(one_by_one):
    here = await subject(SOURCE, records=3)
    queue: asyncio.Queue[Any] = asyncio.Queue()
    events = [here.event(SOURCE, *cut) for cut in ((0, 2), (0, 1), (2, 3))]
    running = asyncio.create_task(here.processor._run_queue(SOURCE.partition, queue))

    for event in events[:2]:
        queue.put_nowait(event)
    await until_true(lambda: bool(here.stage.calls) and queue.empty())
    assert [event.is_acknowledged for event in events] == [False, False, False]
    queue.put_nowait(events[2])
    await until_true(lambda: events[1].is_acknowledged)
    running.cancel()

    assert [event.is_acknowledged for event in events] == [True, True, False]


async def test_a_key_is_forgotten_behind_its_progress_unless_the_next_batch_writes_it(one_by_one):
    here = await subject(SOURCE, records=3)
    outcomes = [
        BatchOutcome(entries={b"a": (0, b""), b"b": (0, b"")}, forgotten=[b"a", b"b"]),
        BatchOutcome(entries={b"b": (1, b"")}),
        BatchOutcome(),
    ]
    here.stage.outcome = lambda: outcomes.pop(0)
    written = here.written_together()

    with suppress(TimeoutError):
        async with asyncio.timeout(BRIEFLY_S):
            await here.run(*(here.event(SOURCE, n, n + 1) for n in range(3)))

    progress = progress_key(*SOURCE)
    assert written == [[b"a", b"b", identity_key(*SOURCE)], [progress, b"b"], [progress, b"a"]]
    assert here.broker.read(TP(here.table.changelog_topic_name, 0))[-1].value is None
    assert here.table.get_entry(0, b"b") == (1, b"")


async def test_records_that_were_folded_before_are_acknowledged_and_not_folded_again():
    here = await subject(SOURCE, records=4)
    await here.run(here.event(SOURCE, 0, 3))

    await here.run(here.event(SOURCE, 0, 2))
    await here.run(here.event(SOURCE, 1, 4))

    assert [offsets for _, offsets in here.stage.folded] == [[0, 1, 2], [3]]
    assert len(here.published) == 2


async def test_an_event_of_an_older_generation_is_neither_folded_nor_acknowledged():
    here = await subject(SOURCE, records=2)
    stale, live = here.event(SOURCE, 0, 2), here.event(SOURCE, 0, 1)
    stale.generation_id = 0

    with suppress(TimeoutError):
        async with asyncio.timeout(BRIEFLY_S):
            await here.run(stale)
    await here.run(live)

    assert not stale.is_acknowledged
    assert here.stage.folded == [(0, [0])]


async def test_records_lost_between_the_consumer_and_the_agent_end_the_process():
    here = await subject(SOURCE, records=4)

    with pytest.raises(BaseExceptionGroup) as caught:
        await here.run(here.event(SOURCE, 1, 4))

    assert "could not be made durable" in exit_of(caught.value)
    assert "records were lost" in str(exit_cause(caught.value))
    assert here.stage.folded == []


async def test_offsets_without_records_are_passed_over():
    here = await subject(SOURCE, records=1)
    here.broker.skip(SOURCE)
    here.append(SOURCE)

    await here.run(here.event(SOURCE, 0, 1))
    here.broker.log.first[SOURCE.topic, SOURCE.partition] = 1  # what was folded is deleted
    await here.run(here.event(SOURCE, 1, 3))

    assert [outcome.dead_letters for outcome in here.published] == [[], []]
    assert here.progress(SOURCE) == 2


async def test_records_that_retention_deleted_are_a_dead_letter():
    here = await subject(SOURCE, records=5)
    await here.run(here.event(SOURCE, 0, 1))
    here.broker.log.first[SOURCE.topic, SOURCE.partition] = 3

    await here.run(here.event(SOURCE, 1, 5))

    [letter] = here.published[-1].dead_letters
    assert (letter.code, letter.partition, letter.offset) == ("RETENTION_GAP", 0, 1)
    assert "[1, 3)" in letter.message
    assert here.stage.folded[-1] == (0, [3, 4])


async def test_what_is_already_published_becomes_durable_without_side_effects():
    here = await subject(SOURCE, records=1)
    decision = Decision(1, "continue", 2, 3, {})
    answer = Answer("a", 1, accepted=True, version=1)
    here.stage.outcome = lambda: BatchOutcome(
        entries={b"key": (0, b"body")}, decisions=[decision], answers=[answer]
    )

    await here.run(here.event(SOURCE, 0, 1, already_published=True))

    assert here.table.get_entry(0, b"key") == (0, b"body")
    assert (here.published[0].decisions, here.published[0].answers) == ([], [])
    assert here.stage.calls == [("on_durable", SOURCE.topic, 0)]


async def test_answers_are_published_when_their_batch_is_durable():
    here = await subject(SOURCE, records=1)
    answer = Answer("a", 1, accepted=True, version=1)
    here.stage.outcome = lambda: BatchOutcome(answers=[answer])

    await here.run(here.event(SOURCE, 0, 1))

    assert here.stage.calls == [("on_durable", SOURCE.topic, 0, answer)]


async def test_a_batch_waits_for_a_schema_registry_that_does_not_answer(monkeypatch, caplog):
    here = await subject(SOURCE, records=1)
    failures = [DependencyError("registry", "no answer", retry_after_s=0)] * 2

    async def prepare(_values: Any) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(here.framing, "prepare", prepare)
    await here.run(here.event(SOURCE, 0, 1))

    assert caplog.text.count("no answer") == 2
    assert here.stage.folded == [(0, [0])]


async def test_a_batch_that_fails_ends_the_process_unacknowledged():
    here = await subject(SOURCE, records=1)
    here.stage.failure = RuntimeError("a fault of the program")
    event = here.event(SOURCE, 0, 1)

    with pytest.raises(BaseExceptionGroup) as caught:
        await here.run(event)

    assert "could not be made durable" in exit_of(caught.value)
    assert not event.is_acknowledged


async def test_a_batch_that_fails_while_the_worker_stops_is_left_to_be_read_again(caplog):
    here = await subject(SOURCE, records=1)
    here.stage.failure = RuntimeError("the producer has stopped")
    here.app._stopped.set()
    event = here.event(SOURCE, 0, 1)

    running = asyncio.create_task(here.run(event))
    await until_true(lambda: "left to be read again" in caplog.text)
    running.cancel()

    assert not event.is_acknowledged


@pytest.mark.parametrize("should_stop", [False, True])
async def test_a_batch_is_cancelled_by_a_stop_and_by_nothing_else(should_stop):
    here = await subject(SOURCE, records=1)
    reached = asyncio.Event()

    async def wait(_outcome: BatchOutcome) -> None:
        reached.set()
        await asyncio.Event().wait()

    here.processor._publish = wait
    if should_stop:
        here.app._stopped.set()
    queue: asyncio.Queue[Any] = asyncio.Queue()
    event = here.event(SOURCE, 0, 1)
    queue.put_nowait(event)
    running = asyncio.create_task(here.processor._run_queue(0, queue))
    await reached.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError if should_stop else ExitError):
        await running

    assert not event.is_acknowledged


async def test_only_partitions_that_are_new_or_have_changed_are_restored():
    here = await subject(SOURCE, OTHER, records=2)
    await here.run(here.event(SOURCE, 0, 2), here.event(OTHER, 0, 2))
    here.stage.calls.clear()

    await here.rebalance(SOURCE, OTHER)
    assert {call[0] for call in here.stage.calls} == {"on_durable"}
    await here.rebalance(SOURCE)
    assert ("release", 1) in here.stage.calls
    here.stage.calls.clear()
    # Another worker had it, and its changelog was read again.
    here.table.put(1, progress_key(*OTHER), 7, b"")
    await here.rebalance(SOURCE, OTHER)

    assert [call for call in here.stage.calls if call[0] != "on_durable"] == [("restore", 1)]


async def test_progress_that_another_worker_made_replaces_the_state():
    here = await subject(SOURCE, records=2)
    await here.run(here.event(SOURCE, 0, 2))
    here.stage.calls.clear()

    here.table.put(0, progress_key(*SOURCE), 7, b"")
    await here.rebalance(SOURCE)

    assert here.stage.calls == [("release", 0), ("restore", 0), ("on_durable", SOURCE.topic, 0)]


async def test_a_batch_that_outlives_a_rebalance_ends_the_process():
    here = await subject(SOURCE)
    here.processor._in_flight.add(0)

    with pytest.raises(ExitError, match="could not be restored") as caught:
        await here.rebalance(SOURCE)

    assert "outlived a rebalance" in str(caught.value.__context__)


async def test_a_worker_does_not_run_over_a_topic_that_was_made_anew():
    here = await subject(SOURCE, records=1)
    await here.run(here.event(SOURCE, 0, 1))

    here.topic_id = "second"
    with pytest.raises(ExitError, match="refused: made anew"):
        await here.rebalance(SOURCE)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (NewerEntryError("an entry"), "refused: an entry"),
        (RuntimeError("broken"), "could not be restored"),
    ],
)
async def test_a_state_that_cannot_be_restored_ends_the_process(failure, reason):
    here = Subject(SOURCE)
    here.stage.failure = failure

    with pytest.raises(ExitError, match=reason):
        await here.rebalance(SOURCE)
