"""A batch is unpacked within bounds, whatever it was packed from."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from typing import Any

import cramjam
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from schemas.catalogue import STATE_BYTES, UNPACKED_BYTES
from streams.worker import unpacking as module
from streams.worker.unpacking import DAMAGED, FETCH_BYTES, OVERSIZED, install

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
TP = TopicPartition("observations", 3)


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    codecs = sys.modules[DefaultRecordBatch.__module__]
    names = ("gzip_decode", "lz4_decode", "zstd_decode")
    before = {name: getattr(codecs, name) for name in names}
    records = fetcher.PartitionRecords
    install()
    yield
    for name, found in before.items():
        setattr(codecs, name, found)
    fetcher.PartitionRecords = records


def batch(codec: int, values: list[bytes], base: int = 0, damage: int = 0) -> bytes:
    """A batch as a producer sends it, with its checksum right even if it is damaged."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        builder.append(offset, 1_000 + offset, b"k", value, [("h", b"v")])
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    if damage:
        made[-damage:] = bytes(damage)
    return bytes(made)


def read(*batches: bytes, fetched: int = 0) -> tuple[list[Any], int]:
    """The records that a consumer gets, and where it reads on."""
    records = fetcher.PartitionRecords(
        TP, MemoryRecords(b"".join(batches)), [], fetched, None, None, False, 1
    )
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("codec", [0, GZIP, SNAPPY, LZ4, ZSTD])
def test_ordinary_batches_are_read_as_they_were_written(codec):
    values = [b"%d" % n * n for n in range(300)]
    found, position = read(batch(codec, values), batch(codec, values, base=300))

    assert [each.value for each in found] == values * 2
    assert [each.offset for each in found] == list(range(600))
    assert {(each.key, each.headers) for each in found} == {(b"k", (("h", b"v"),))}
    assert position == 600


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_one_record_stands_for_a_batch_that_is_too_large_and_reading_goes_on(codec, caplog):
    bomb = batch(codec, [bytes(UNPACKED_BYTES)] * 2, base=1)
    assert len(bomb) < UNPACKED_BYTES / 100
    found, position = read(batch(codec, [b"a"]), bomb, batch(codec, [b"b"], base=3))

    assert [(each.offset, each.value) for each in found] == [(0, b"a"), (2, OVERSIZED), (3, b"b")]
    assert (found[1].timestamp, found[1].key, found[1].headers) == (1_001, None, ())
    assert position == 4
    [said] = caplog.messages
    assert "1 to 2" in said
    assert len(OVERSIZED) > STATE_BYTES


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_a_batch_of_the_largest_size_is_read(codec):
    [largest] = read(batch(codec, [bytes(UNPACKED_BYTES - 100)]))[0]

    assert len(largest.value) == UNPACKED_BYTES - 100


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_what_is_unpacked_at_once_is_bounded_and_the_rest_is_read_next(codec):
    size = FETCH_BYTES // 2 - 100
    packed = [batch(codec, [bytes(size)], base=n) for n in range(5)]
    found, position = read(*packed)

    assert [each.offset for each in found] == [0, 1, 2]  # two are just below the bound
    found, position = read(*packed[position:], fetched=position)
    assert ([each.offset for each in found], position) == ([3, 4], 5)


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_one_record_stands_for_a_batch_that_is_damaged(codec):
    values = [bytes([n]) * 50 for n in range(200)]
    damaged = batch(codec, values, damage=300)
    found, position = read(damaged, batch(codec, [b"b"], base=200))

    assert [(each.offset, each.value) for each in found] == [(199, DAMAGED), (200, b"b")]
    assert position == 201


def test_one_record_stands_for_those_from_an_unreadable_header_on():
    made = bytearray(batch(0, [b"a", b"b", b"c"]))
    places = [at for at in range(len(made) - 3) if made[at : at + 4] == b"\x02h\x02v"]
    made[places[1] + 1] = 0xFF
    found, position = read(bytes(made), batch(0, [b"d"], base=3))

    assert [(each.offset, each.value) for each in found] == [(0, b"a"), (2, DAMAGED), (3, b"d")]
    assert position == 4


def test_gzip_of_several_members_and_with_padding_is_read_and_a_cut_one_is_not():
    members = gzip.compress(b"a" * 1_000) + gzip.compress(b"") + gzip.compress(b"b") + b"\0\0"

    assert module.gzip_bounded(members) == b"a" * 1_000 + b"b"
    with pytest.raises(EOFError):
        module.gzip_bounded(members[:-6])


def test_what_needs_several_tries_is_unpacked_whole():
    whole = bytes(range(256)) * 40_000
    for codec in (cramjam.lz4, cramjam.zstd):
        unpack = module.bounded(codec.decompress_into)
        assert unpack(bytes(codec.compress(whole))) == whole
