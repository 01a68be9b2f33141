"""The consumer reads every record once and in order, from where the tables end to the fence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.settings import Settings
from streams.worker import transport
from streams.worker.app import make_app
from streams.worker.transport import BatchingConsumer, FetchBatch
from tests.patience import patience
from tests.twins.kafka import MemoryBroker, MemoryConsumer, MemoryThread, connect

TOPIC, CHANGELOG = "observations", "state-changelog"
TPS = (TP(TOPIC, 0), TP(TOPIC, 1))
SOURCE, OTHER = TPS
SETTINGS = Settings(partitions=2)


class Reader:
    """A consumer on a log, with what it has read since it was sought last.

    Attributes:
        durable: Where the state of each source partition ends.
        fences: How far each may be read.
        sought: Where reading started then.
        unacknowledged: Batches that were read and are not durable yet.
        rewound: What the app was called with.
    """

    def __init__(self) -> None:
        self.log = MemoryBroker(2)
        self.app = make_app(SETTINGS)
        self.durable: dict[TP, int] = {}
        self.fences: dict[TP, int] = {}
        self.rewound: list[tuple[TP, int]] = []
        self.app.resume = {TOPIC: self.durable.get}
        self.app.fence = lambda *tp: self.fences.get(TP(*tp))
        self.app.rewound = lambda tp, position: self.rewound.append((tp, position))
        self.thread: MemoryThread = connect(self.app, self.log)
        self.consumer = cast(MemoryConsumer, self.app.consumer)
        for callback in ("_on_partitions_revoked", "_on_partitions_assigned"):
            setattr(self.consumer, callback, _nothing)
        cast(Any, self.app.topics)._acking_topics.add(TOPIC)
        self.sought: dict[TP, int] = {}
        self.read: dict[TP, list[FetchBatch]] = {}
        self.unacknowledged: dict[TP, list[ConsumerMessage]] = {}
        self._generation = 0

    def append(self, tp: TP, count: int = 1) -> None:
        """Let records come."""
        for _ in range(count):
            self.log.append(tp, None, b"value")

    async def assign(self, *tps: TP) -> None:
        """Rebalance, recover and seek, as Faust does."""
        self._generation += 1
        await self.thread.assign(tps, self._generation)
        await self.seek()

    async def seek(self) -> None:
        """Start over from where the tables end."""
        await self.consumer.perform_seek()
        self.sought = {tp: self.durable.get(tp, 0) for tp in self.thread.assignment()}
        self.read = {tp: [] for tp in self.sought}
        self.unacknowledged = {tp: [] for tp in self.sought}

    async def fetch(self) -> dict[TP, list[Any]]:
        """Fetch once, as Faust does, and return what was read."""
        active = set(self.consumer._get_active_partitions())
        fetched = await self.consumer._getmany(active, timeout=0.001)
        for tp, batches in fetched.items():
            self.read[tp] += batches
            self.unacknowledged[tp] += [self.consumer._to_message(tp, each) for each in batches]
        return cast(dict[TP, list[Any]], fetched)

    def acknowledge(self, tp: TP) -> None:
        """Make the first batch that waits durable."""
        message = self.unacknowledged[tp].pop(0)
        self.durable[tp] = cast(FetchBatch, message.value).end
        assert self.consumer.ack(message)

    def offsets(self, tp: TP) -> list[int]:
        """Return the offsets that were read since the last seek."""
        return [record.offset for batch in self.read[tp] for record in batch.records]


async def _nothing(*_arguments: Any) -> None:
    pass


async def reader(*tps: TP, records: int = 0) -> Reader:
    made = Reader()
    for tp in tps:
        made.append(tp, records)
    await made.assign(*tps)
    return made


async def test_a_source_is_not_read_before_it_was_sought():
    subject = Reader()
    subject.append(SOURCE, 5)
    await subject.thread.assign([SOURCE], 1)

    assert await subject.consumer._getmany({SOURCE}, timeout=0.001) == {}
    assert subject.thread.fetched == []


async def test_reading_goes_on_where_the_table_ends_and_not_where_was_committed():
    subject = Reader()
    subject.append(SOURCE, 9)
    subject.append(OTHER, 9)
    subject.log.log.first[OTHER] = 4
    subject.durable[SOURCE] = 3
    subject.thread.committed[SOURCE] = 7

    await subject.assign(SOURCE, OTHER)
    await subject.fetch()

    assert subject.offsets(SOURCE) == [3, 4, 5, 6, 7, 8]
    assert subject.offsets(OTHER) == [4, 5, 6, 7, 8]  # of no entry: from the earliest
    assert [batch.begin for batch in subject.read[OTHER]] == [4]


async def test_a_fetch_is_one_message_with_its_last_offset():
    subject = await reader(SOURCE, records=7)

    [batch] = (await subject.fetch())[SOURCE]
    message = subject.consumer._to_message(SOURCE, batch)

    assert message.value is batch
    assert (message.tp, message.offset, message.generation_id) == (SOURCE, 6, 1)


async def test_a_large_fetch_is_several_batches_that_follow_each_other(monkeypatch):
    monkeypatch.setattr(transport, "MAX_BATCH_RECORDS", 3)
    subject = await reader(SOURCE, records=7)

    batches = (await subject.fetch())[SOURCE]

    assert [(batch.begin, batch.end) for batch in batches] == [(0, 3), (3, 6), (6, 7)]


async def test_records_of_a_changelog_stay_single():
    subject = await reader(SOURCE)
    changelog = TP(CHANGELOG, 0)
    subject.append(changelog, 3)
    subject.thread._offsets[changelog] = 0

    fetched = await subject.consumer._getmany({changelog}, timeout=0.001)

    assert fetched == {changelog: subject.log.read(changelog)}
    assert subject.consumer._to_message(changelog, fetched[changelog][1]).value == b"value"


async def test_a_gap_between_batches_is_not_taken_for_acknowledged():
    """Faust's own consumer takes any jump for records that compaction has removed."""
    subject = await reader(SOURCE)

    await subject.consumer._add_gap(SOURCE, 0, 99)
    await subject.consumer._add_gap(TP(CHANGELOG, 0), 0, 99)

    assert list(subject.consumer._gap) == [TP(CHANGELOG, 0)]


async def test_what_is_acknowledged_is_committed_behind_its_last_record(monkeypatch):
    monkeypatch.setattr(transport, "MAX_BATCH_RECORDS", 3)
    subject = await reader(SOURCE, records=7)
    await subject.fetch()

    await subject.consumer.commit()
    assert subject.thread.committed == {}
    subject.acknowledge(SOURCE)
    subject.acknowledge(SOURCE)
    await subject.consumer.commit()

    assert subject.thread.committed == {SOURCE: 6}
    assert subject.consumer._acked[SOURCE] == []


async def test_no_offset_is_committed_behind_what_was_sent():
    """Readers of the committed offsets expect the cells in `tallies`."""
    sent: dict[TP, int | None] = {SOURCE: 0}
    subject = await reader(SOURCE, records=7)
    subject.app.sent_until = lambda *tp: sent[TP(*tp)]
    await subject.fetch()
    subject.acknowledge(SOURCE)

    await subject.consumer.commit()
    assert subject.thread.committed == {}
    sent[SOURCE] = 4
    await subject.consumer.commit()
    assert subject.thread.committed == {SOURCE: 4}
    sent[SOURCE] = None
    await subject.consumer.commit()
    assert subject.thread.committed == {SOURCE: 7}


async def test_what_the_tables_hold_is_committed_though_no_record_comes():
    """The worker before this one has exited between its tables and its commit."""
    subject = await reader(SOURCE, OTHER, records=7)
    subject.durable[SOURCE] = 7

    await subject.assign(SOURCE, OTHER)
    await subject.consumer.commit()

    assert subject.thread.committed == {SOURCE: 7}


@pytest.mark.parametrize(
    ("bound", "most"), [("MAX_WAITING_RECORDS", 2), ("MAX_WAITING_BYTES", 2 * len(b"value"))]
)
async def test_a_partition_whose_agent_is_behind_is_not_fetched(monkeypatch, bound, most):
    monkeypatch.setattr(transport, "MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr(transport, bound, most)
    subject = await reader(SOURCE, OTHER, records=2)
    await subject.fetch()
    subject.append(SOURCE)
    subject.acknowledge(OTHER)

    await subject.fetch()
    assert subject.thread.fetched[-1] == {OTHER}
    subject.acknowledge(SOURCE)
    await subject.fetch()

    assert subject.thread.fetched[-1] == {SOURCE, OTHER}
    assert subject.offsets(SOURCE) == [0, 1, 2]


async def test_a_partition_with_many_small_batches_is_fetched():
    subject = await reader(SOURCE, OTHER)
    for _ in range(100):
        subject.append(SOURCE)
        await subject.fetch()

    assert subject.thread.fetched[-1] == {SOURCE, OTHER}
    assert len(subject.unacknowledged[SOURCE]) == 100


async def test_without_a_partition_that_may_be_read_nothing_is_fetched(monkeypatch):
    """An empty set of partitions would be all of them to aiokafka."""
    monkeypatch.setattr(transport, "MAX_WAITING_RECORDS", 1)
    subject = await reader(SOURCE, records=2)
    await subject.fetch()
    fetches = len(subject.thread.fetched)

    assert await subject.fetch() == {}
    assert len(subject.thread.fetched) == fetches


async def test_a_paused_partition_is_not_read_and_goes_on_where_it_stopped():
    subject = await reader(SOURCE, OTHER, records=2)
    await subject.fetch()
    for tp in TPS:
        subject.append(tp, 2)

    subject.consumer.pause_partitions([SOURCE])
    await subject.fetch()
    assert (subject.offsets(SOURCE), subject.offsets(OTHER)) == ([0, 1], [0, 1, 2, 3])
    subject.consumer.resume_partitions([SOURCE])
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2, 3]


async def test_records_behind_a_fence_are_left_for_later():
    subject = await reader(SOURCE, records=9)
    subject.fences[SOURCE] = 4
    await subject.fetch()
    assert subject.offsets(SOURCE) == [0, 1, 2, 3]
    fetches = len(subject.thread.fetched)
    assert await subject.fetch() == {}
    assert len(subject.thread.fetched) == fetches  # it stands at the fence

    subject.fences[SOURCE] = 6
    await subject.fetch()
    del subject.fences[SOURCE]
    await subject.fetch()

    assert subject.offsets(SOURCE) == list(range(9))
    assert [batch.already_published for batch in subject.read[SOURCE]] == [True, True, False]


async def test_a_record_at_the_fence_is_read_once_the_fence_has_moved():
    subject = await reader(SOURCE, records=3)
    subject.fences[SOURCE] = 2
    await subject.fetch()

    subject.fences[SOURCE] = 3
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2]


async def test_offsets_without_records_belong_to_the_batch_behind_them():
    subject = await reader(SOURCE, records=2)
    await subject.fetch()
    subject.log.skip(SOURCE)
    subject.append(SOURCE)

    [batch] = (await subject.fetch())[SOURCE]

    assert (batch.begin, batch.records[0].offset) == (2, 3)


async def test_a_seek_forgets_what_was_read_and_what_was_fenced(monkeypatch):
    monkeypatch.setattr(transport, "MAX_WAITING_RECORDS", 1)
    subject = await reader(SOURCE, records=5)
    subject.fences[SOURCE] = 3
    await subject.fetch()
    subject.fences.clear()

    await subject.seek()
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2, 3, 4]


async def test_a_fetch_that_fails_loses_nothing_and_repeats_nothing():
    subject = await reader(SOURCE, records=2)
    await subject.fetch()
    subject.append(SOURCE, 2)
    subject.thread.failures.append(KafkaError("no answer"))

    with pytest.raises(KafkaError):
        await subject.fetch()
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2, 3]


async def test_what_was_fetched_before_a_rebalance_is_not_read_after_it(monkeypatch):
    subject = await reader(SOURCE, OTHER, records=3)
    fetch = subject.thread.getmany

    async def rebalance_meanwhile(tps: Any, timeout: float) -> Any:
        fetched = await fetch(tps, timeout)
        await subject.thread.assign([OTHER], 2)
        return fetched

    with monkeypatch.context() as patch:
        patch.setattr(subject.thread, "getmany", rebalance_meanwhile)
        assert await subject.consumer._getmany(set(TPS), timeout=0.001) == {}
    await subject.seek()
    await subject.fetch()

    assert subject.read.keys() == {OTHER}
    assert subject.offsets(OTHER) == [0, 1, 2]


async def test_a_partition_that_was_lost_at_its_fence_is_read_by_its_next_owner():
    subject = await reader(SOURCE, OTHER, records=3)
    subject.fences[SOURCE] = 1
    await subject.fetch()
    await subject.thread.assign([OTHER], 2)  # the fetch was to be sought back
    subject.fences.clear()
    await subject.seek()
    await subject.fetch()
    assert subject.offsets(OTHER) == [0, 1, 2]

    await subject.assign(SOURCE, OTHER)
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2]


async def test_a_partition_that_cannot_be_sought_back_holds_up_no_other():
    """It was revoked, and the rebalance has not reached the consumer yet."""
    subject = await reader(SOURCE, OTHER, records=3)
    subject.fences[SOURCE] = 1
    await subject.fetch()
    subject.append(OTHER)
    del subject.thread._offsets[SOURCE]
    subject.fences.clear()

    await subject.fetch()

    assert subject.offsets(SOURCE) == [0]
    assert subject.offsets(OTHER) == [0, 1, 2, 3]
    assert subject.consumer._cut.keys() == {SOURCE}  # to be read by its next owner


async def test_no_partition_is_read_before_it_could_be_sought_back():
    subject = await reader(SOURCE, OTHER, records=3)
    subject.fences |= {SOURCE: 1, OTHER: 1}
    await subject.fetch()
    subject.append(OTHER)
    del subject.thread._offsets[SOURCE]  # and the broker seeks neither
    subject.fences.clear()

    await subject.fetch()

    assert subject.offsets(OTHER) == [0]


async def test_a_seek_waits_for_the_fetch_that_is_on_its_way():
    """Its records would be taken for those of the new position."""
    subject = await reader(SOURCE, records=3)
    fetching = asyncio.create_task(subject.fetch())
    await asyncio.sleep(0)

    await subject.seek()
    assert fetching.done()
    await subject.fetch()

    assert subject.offsets(SOURCE) == [0, 1, 2]


async def test_records_from_before_the_position_are_reported():
    subject = await reader(SOURCE, records=5)
    await subject.fetch()
    subject.thread.seek(SOURCE, 2)  # the log has lost its end, and the broker starts over

    [batch] = (await subject.fetch())[SOURCE]

    assert subject.rewound == [(SOURCE, 5)]
    assert (batch.begin, batch.end) == (2, 5)


def test_the_thread_of_the_consumer_reads_committed_records_and_does_not_wait_long():
    async def made() -> Any:
        app = make_app(SETTINGS)
        consumer = app.consumer
        assert isinstance(consumer, BatchingConsumer)
        return consumer._thread._create_worker_consumer(cast(Any, app.transport))

    consumer = asyncio.run(made())

    assert consumer._isolation_level == "read_committed"
    assert consumer._fetch_max_wait_ms == transport.FETCH_WAIT_MS


async def test_a_fetch_states_for_how_long_the_broker_may_hold_the_next_fetch(monkeypatch):
    fetched: list[Any] = [{}, {SOURCE: ["record"]}, {}]

    async def fetch(*_: Any, **__: Any) -> Any:
        return fetched.pop(0)

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    consumer = make_app(SETTINGS).consumer
    assert isinstance(consumer, BatchingConsumer)
    reading = cast(Any, SimpleNamespace(_fetcher=SimpleNamespace(_fetch_max_wait_ms=None)))
    waits_ms = []
    while fetched:
        await consumer._thread._fetch_records(reading, set())
        waits_ms.append(reading._fetcher._fetch_max_wait_ms)

    quiet_ms, busy_ms = transport.FETCH_WAIT_MS, transport.BUSY_FETCH_WAIT_MS
    assert waits_ms == [quiet_ms, busy_ms, busy_ms]


tp_numbers = st.integers(0, 1)
operations = st.one_of(
    st.tuples(st.just("append"), tp_numbers, st.integers(1, 4)),
    st.tuples(st.just("skip"), tp_numbers),
    st.tuples(st.just("fetch")),
    st.tuples(st.just("fetch")),
    st.tuples(st.just("fail")),
    st.tuples(st.just("fence"), tp_numbers, st.none() | st.integers(0, 3)),
    st.tuples(st.just("pause"), tp_numbers),
    st.tuples(st.just("resume"), tp_numbers),
    st.tuples(st.just("acknowledge"), tp_numbers),
    st.tuples(st.just("acknowledge"), tp_numbers),
    st.tuples(st.just("seek")),
    st.tuples(st.just("rebalance"), st.sets(tp_numbers)),
)


async def operate(subject: Reader, name: str, *arguments: Any) -> None:
    """Do one operation, if it can be done now."""
    tp = TPS[arguments[0]] if arguments and name != "rebalance" else SOURCE
    is_here = tp in subject.read
    match name:
        case "append":
            subject.append(tp, arguments[1])
        case "skip":
            subject.log.skip(tp)
        case "fetch":
            await fetch_below_fences(subject)
        case "fail":
            subject.thread.failures = [KafkaError("no answer")]
            with suppress(KafkaError):
                await subject.fetch()
            subject.thread.failures = []
        case "fence":
            subject.fences.pop(tp, None)
            if arguments[1] is not None:
                subject.fences[tp] = max(0, subject.log.end(tp) - arguments[1])
        case "pause" if is_here:
            subject.consumer.pause_partitions([tp])
        case "resume" if is_here:
            subject.consumer.resume_partitions([tp])
        case "acknowledge" if is_here and subject.unacknowledged[tp]:
            subject.acknowledge(tp)
        case "seek":
            await subject.seek()
        case "rebalance":
            await subject.assign(*(TPS[number] for number in arguments[0]))


async def fetch_below_fences(subject: Reader) -> None:
    """Fetch once, and check the batches against the fences as they are now."""
    for tp, batches in (await subject.fetch()).items():
        fence = subject.fences.get(tp)
        for batch in batches:
            assert batch.already_published == (fence is not None)
            assert fence is None or batch.end <= fence


def check_read(subject: Reader) -> None:
    """Check that batches follow each other from where was sought, and lack no record."""
    for tp, batches in subject.read.items():
        position = subject.sought[tp]
        for batch in batches:
            assert batch.begin == position
            position = batch.end
            assert batch.records == [
                record for record in subject.log.read(tp, batch.begin) if record.offset < position
            ]


async def read_to_the_end(subject: Reader) -> None:
    """Lift the fences, and read until every record is acknowledged."""
    subject.fences.clear()
    subject.consumer.resume_partitions(subject.read)
    ends = {tp: records[-1].offset + 1 for tp in subject.read if (records := subject.log.read(tp))}
    while any(subject.durable.get(tp, 0) < end for tp, end in ends.items()):
        await subject.fetch()
        for tp, waiting in subject.unacknowledged.items():
            for _ in list(waiting):
                subject.acknowledge(tp)


@settings(max_examples=200)
@given(operated=st.lists(operations, min_size=5, max_size=60), max_records=st.integers(1, 5))
def test_every_record_is_read_once_and_in_order(operated: Sequence[Any], max_records: int) -> None:
    """Whatever fails, is fenced, paused, sought or rebalanced meanwhile."""

    async def run() -> None:
        subject = await reader(*TPS)
        subject.thread.max_records = max_records
        for operation in operated:
            await operate(subject, *operation)
            check_read(subject)
        async with patience():
            await read_to_the_end(subject)
        check_read(subject)

    asyncio.run(run())
