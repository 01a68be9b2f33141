"""Every log that is read to an end: in memory, archived, archived in part, and Kafka's."""

from __future__ import annotations

import itertools
import pickle
import secrets
import time
from collections import defaultdict
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import create_topics
from streams.kafka.records import LogError, LogSource, OffsetRange, StoredRecord, all_records
from streams.kafka.source import KafkaSource
from streams.ops.archive.archiving import archive
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.source import ArchiveSource
from streams.settings import Settings
from tests.patience import PATIENCE_S, until
from tests.twins.log import MemoryLog

TOPIC = "observations"
PARTITIONS = 4
NOW_MS = time.time_ns() // 1_000_000  # records of a while ago would be deleted by retention

Row = tuple[bytes | None, bytes | None, int]
"""Key, value and timestamp."""


class Log(Protocol):
    """One kind of log, to be filled and then read."""

    def send(self, partition: int, rows: list[Row]) -> None:
        """Append records."""

    def skip(self, partition: int) -> None:
        """Use two offsets without a record."""

    def delete_before(self, partition: int, offset: int) -> None:
        """Have retention delete the beginning of a partition."""

    def source(self) -> LogSource:
        """Return what is read."""


class Memory:
    """The twin that other tests read."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        for partition in range(PARTITIONS):
            assert self.log.topics[TOPIC, partition] == []

    def send(self, partition: int, rows: list[Row]) -> None:
        for key, value, timestamp in rows:
            self.log.append(TOPIC, partition, value, key, timestamp)

    def skip(self, partition: int) -> None:
        self.log.skip(TOPIC, partition, 2)

    def delete_before(self, partition: int, offset: int) -> None:
        self.log.first[TOPIC, partition] = offset

    def source(self) -> LogSource:
        return self.log


class Archived(Memory):
    """The files of an archive that is brought up to date before it is read."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def source(self) -> LogSource:
        archive(self.log, self.directory, [TOPIC])
        return ArchiveSource(self.directory)


class Joined(Archived):
    """The first half from an archive, the rest from a log that has lost most of that half."""

    def source(self) -> LogSource:
        older, newer = MemoryLog(), pickle.loads(pickle.dumps(self.log))
        for (topic, partition), records in self.log.topics.items():
            kept = [each for each in records if each.offset >= self.log.first[topic, partition]]
            half = kept[: len(kept) // 2]
            older.replace(topic, partition, half)
            if half:
                newer.first[topic, partition] = half[-1].offset
        archive(older, self.directory, [TOPIC])
        return JoinedSource(ArchiveSource(self.directory), newer)


class Kafka:
    """A topic on the broker of the run."""

    def __init__(self, settings: Settings) -> None:
        create_topics(settings)
        self.settings = settings.model_copy(update={"kafka_timeout_s": 3.0})
        self.topic = settings.topic_prefix + TOPIC

    def send(self, partition: int, rows: list[Row]) -> None:
        producer = Producer(self.settings.confluent_config() | {"linger.ms": 20})
        for key, value, timestamp in rows:
            producer.produce(self.topic, value, key, partition=partition, timestamp=timestamp)
        assert producer.flush(PATIENCE_S) == 0

    def skip(self, partition: int) -> None:
        producer = Producer(
            self.settings.confluent_config() | {"transactional.id": secrets.token_hex()}
        )
        end = self._end(partition) + 2
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(self.topic, b"aborted", partition=partition)
        producer.flush(PATIENCE_S)
        producer.abort_transaction()
        until(lambda: self._end(partition) == end)  # its marker comes behind the answer

    def _end(self, partition: int) -> int:
        config = self.settings.confluent_config() | {"group.id": "unused"}
        consumer = Consumer(config | {"isolation.level": "read_uncommitted"})
        try:
            place = TopicPartition(self.topic, partition)
            return consumer.get_watermark_offsets(place, timeout=PATIENCE_S)[1]
        finally:
            consumer.close()

    def delete_before(self, partition: int, offset: int) -> None:
        place = TopicPartition(self.topic, partition, offset)
        admin = AdminClient(self.settings.confluent_config())
        admin.delete_records([place])[place].result(PATIENCE_S)

    def source(self) -> LogSource:
        return KafkaSource(self.settings)


IN_PROCESS = ["memory", "archive", "joined"]
EVERYWHERE = [*IN_PROCESS, pytest.param("kafka", marks=pytest.mark.integration)]
# The embedded broker knows neither transactions nor the deletion of records.
NOT_ON_TANSU = [
    *IN_PROCESS,
    pytest.param("kafka", marks=[pytest.mark.integration, pytest.mark.kafka]),
]


@pytest.fixture(params=EVERYWHERE)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    match request.param:
        case "memory":
            return Memory()
        case "archive":
            return Archived(tmp_path / "archive")
        case "joined":
            return Joined(tmp_path / "archive")
        case _:
            return Kafka(request.getfixturevalue("settings"))


def rows(n: int) -> list[Row]:
    """Return records of every kind of bytes, whose timestamps go back and forth."""
    keys, values = (None, b"", b"key"), (b"value", None, b"", bytes(range(256)))
    return [
        (keys[index % 3], values[index % 4], NOW_MS + 5_000 * (index % 2) - index)
        for index in range(n)
    ]


def stored(sent: list[Row], first: int = 0) -> list[StoredRecord]:
    return [
        StoredRecord(first + index, timestamp, key, value)
        for index, (key, value, timestamp) in enumerate(sent)
    ]


def read(source: LogSource, partition: int, begin: int, end: int) -> list[StoredRecord]:
    return [record for piece in source.read(TOPIC, partition, begin, end) for record in piece]


def refusal(source: LogSource, partition: int, begin: int, end: int) -> tuple[int, str, str | None]:
    """Return how many records come before the error, its code and its path."""
    pieces, found = source.read(TOPIC, partition, begin, end), 0
    try:
        for piece in pieces:
            found += len(piece)
    except LogError as error:
        return found, error.code, error.path
    pytest.fail("there was no error")


def test_spans_are_of_every_partition_and_end_behind_the_last_record(log: Log) -> None:
    log.send(0, rows(5))
    log.send(2, rows(17))

    spans = log.source().spans(TOPIC)

    assert spans == {
        0: OffsetRange(0, 5),
        1: OffsetRange(0, 0),
        2: OffsetRange(0, 17),
        3: OffsetRange(0, 0),
    }


def test_any_part_is_what_was_sent_to_the_byte(log: Log) -> None:
    sent = rows(24)
    log.send(1, sent)
    source = log.source()

    for begin, end in itertools.combinations_with_replacement([0, 1, 11, 12, 13, 23, 24], 2):
        assert read(source, 1, begin, end) == stored(sent)[begin:end]


def test_partitions_are_read_one_after_the_other_each_in_order(log: Log) -> None:
    for partition, n in ((3, 4), (0, 9)):
        log.send(partition, rows(n))

    found = list(all_records(log.source(), TOPIC))

    assert found == [(0, each) for each in stored(rows(9))] + [
        (3, each) for each in stored(rows(4))
    ]


def test_another_process_reads_the_same(log: Log) -> None:
    log.send(0, rows(10))

    source = pickle.loads(pickle.dumps(log.source()))

    assert read(source, 0, 0, 10) == stored(rows(10))


def test_nothing_is_read_of_an_empty_range_wherever_it_is(log: Log) -> None:
    log.send(0, rows(3))
    source = log.source()

    assert [read(source, partition, at, at) for partition in (0, 1) for at in (0, 3, 99)] == [
        []
    ] * 6


def test_a_log_that_ends_too_early_is_an_error_behind_what_it_has(log: Log) -> None:
    log.send(0, rows(10))
    source = log.source()

    assert refusal(source, 0, 4, 12) == (6, "LOG_INCOMPLETE", f"{TOPIC}/0")
    assert refusal(source, 1, 0, 1) == (0, "LOG_INCOMPLETE", f"{TOPIC}/1")


def test_what_comes_behind_a_span_is_not_read_with_it(log: Log) -> None:
    log.send(0, rows(6))
    before = log.source().spans(TOPIC)[0]
    log.send(0, rows(5))
    source = log.source()

    assert read(source, 0, before.begin, before.end) == stored(rows(6))
    assert source.spans(TOPIC)[0] == OffsetRange(0, 11)
    assert read(source, 0, 6, 11) == stored(rows(5), first=6)


@pytest.mark.parametrize("log", NOT_ON_TANSU, indirect=True)
def test_a_log_that_has_lost_its_beginning_says_so(log: Log) -> None:
    log.send(0, rows(12))
    log.delete_before(0, 5)
    source = log.source()

    assert source.spans(TOPIC)[0] == OffsetRange(5, 12)
    assert read(source, 0, 5, 12) == stored(rows(12))[5:]
    assert read(source, 0, 2, 2) == []
    assert refusal(source, 0, 4, 12) == (0, "LOG_TRUNCATED", f"{TOPIC}/0")


@pytest.mark.parametrize("log", NOT_ON_TANSU, indirect=True)
def test_a_log_goes_on_behind_all_that_it_has_lost(log: Log) -> None:
    log.send(0, rows(4))
    log.delete_before(0, 4)
    log.send(0, rows(2))
    source = log.source()

    assert source.spans(TOPIC)[0] == OffsetRange(4, 6)
    assert read(source, 0, 4, 6) == stored(rows(2), first=4)


@pytest.mark.parametrize("log", NOT_ON_TANSU, indirect=True)
def test_offsets_without_a_record_are_passed_over(log: Log) -> None:
    expected: defaultdict[int, list[StoredRecord]] = defaultdict(list)
    for partition, steps in ((0, [3, 0, 4]), (1, [0, 2, 0])):
        offset = 0
        for n in steps:  # a gap behind each: in the middle, at the beginning, at the end
            log.send(partition, rows(n))
            expected[partition] += stored(rows(n), first=offset)
            log.skip(partition)
            offset += n + 2
    source = log.source()

    for partition, span in source.spans(TOPIC).items():
        assert read(source, partition, span.begin, span.end) == expected[partition]
    assert read(source, 0, 4, 9) == [each for each in expected[0] if 4 <= each.offset < 9]
