"""A tail gives every record once, in pieces, and again what its caller has failed at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.codec import Codec
from streams.kafka.records import StoredRecord, records_since
from streams.kafka.tail import LogTail
from streams.model.errors import DependencyError
from streams.model.partitioning import Partition
from streams.wire.framing import Framing
from streams.wire.records import SINGLE_OBJECT
from tests.twins.log import MemoryLog

TOPIC = "decisions"


class Taker:
    """Notes the places of what it is given; a piece with an offset of `refused` fails."""

    def __init__(self) -> None:
        self.pieces: list[list[tuple[int, int]]] = []
        self.refused: set[int] = set()

    def __call__(
        self, partition: Partition, records: Sequence[StoredRecord], _codec: Codec
    ) -> None:
        if self.refused & {each.offset for each in records}:
            raise OSError
        self.pieces.append([(partition.number, each.offset) for each in records])


def log_of(n_records: int, partitions: int = 1) -> MemoryLog:
    log = MemoryLog(piece=2)
    for number in range(n_records):
        log.append(TOPIC, number % partitions, b"")
    return log


def tail_of(log: MemoryLog) -> LogTail:
    return LogTail(log, TOPIC, Framing(SINGLE_OBJECT))


async def test_new_records_are_given_once_partition_by_partition_in_pieces():
    log, taker = log_of(5, partitions=2), Taker()
    tail = tail_of(log)

    await tail.take(taker)
    await tail.take(taker)
    assert taker.pieces == [[(0, 0), (0, 1)], [(0, 2)], [(1, 0), (1, 1)]]

    log.append(TOPIC, 1, b"")
    await tail.take(taker)
    assert taker.pieces[3:] == [[(1, 2)]]


async def test_what_failed_is_new_again_and_what_came_before_it_is_not():
    log, taker = log_of(5), Taker()
    tail = tail_of(log)
    taker.refused = {2}
    with pytest.raises(OSError):
        await tail.take(taker)
    log.failures = [DependencyError("kafka", "away")]
    with pytest.raises(DependencyError):
        await tail.take(taker)
    taker.refused = set()

    await tail.take(taker)

    assert taker.pieces == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]


async def test_readings_at_the_same_time_take_every_record_once():
    log, taker = log_of(6), Taker()
    tail = tail_of(log)

    await asyncio.gather(*(tail.take(taker) for _ in range(3)))

    assert taker.pieces == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]


def test_records_deleted_since_are_passed_by_and_are_no_gaps():
    log = log_of(3)
    positions: dict[int, int] = {}
    assert [len(records) for _, records in records_since(log, TOPIC, positions)] == [2, 1]
    log.skip(TOPIC, 0, 4)
    log.append(TOPIC, 0, b"")
    log.first[TOPIC, 0] = 5

    found = [each.offset for _, records in records_since(log, TOPIC, positions) for each in records]

    assert found == [7]
    assert positions == {0: 8}
