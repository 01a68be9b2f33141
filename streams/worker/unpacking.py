"""Bounds of what the batches of a fetch are unpacked to, and batches that cannot be decoded.

A broker limits compressed batches, and a megabyte of zstd can be 32 GB of records. The records of a
batch that would be larger than any process may keep are not read: one record stands for them, which
becomes a dead letter, and the partition goes on behind it. So it does behind a batch that is
damaged, and behind a record with a name of a header that is no UTF-8, which brokers take.

aiokafka unpacks a batch when its first record is asked for. So here are its codecs with a bound,
and what gives its records to a consumer (`aiokafka.consumer.fetcher.PartitionRecords`) with the
batches in between.
"""

from __future__ import annotations

import logging
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch

from schemas.catalogue import STATE_BYTES, UNPACKED_BYTES

FETCH_BYTES = 4 * STATE_BYTES
"""Unpacked bytes of a partition after which the rest of a fetch is fetched again later."""

OVERSIZED = bytes(STATE_BYTES + 1)
"""Value that stands for a batch that is too large: any stage refuses it (`RECORD_TOO_LARGE`)."""

DAMAGED = b"\0"
"""Value that stands for a batch, or the rest of one, that cannot be decoded."""

_FIRST_RATIO = 8
_GZIP = 31  # of `zlib.decompressobj`: gzip, with the largest window

logger = logging.getLogger(__name__)


class BatchTooLargeError(Exception):
    """A batch has more than `UNPACKED_BYTES`."""


class _Unpacked:
    """Bytes that were unpacked in this process; the difference of two looks counts."""

    total = 0


def gzip_bounded(payload: Any) -> bytes:
    """Return the bytes of a gzip file, which may have several members.

    Raises:
        BatchTooLargeError: they are more than `UNPACKED_BYTES`.
        zlib.error, EOFError: it is damaged.
    """
    rest, left = bytes(payload), UNPACKED_BYTES
    parts: list[bytes] = []
    while rest:
        member = zlib.decompressobj(_GZIP)
        part = member.decompress(rest, left + 1)
        left -= len(part)
        if left < 0:
            raise BatchTooLargeError
        if not member.eof:
            raise EOFError("a gzip file ends in the middle")
        parts.append(part)
        rest = member.unused_data.lstrip(b"\0")
    return _noted(b"".join(parts))


def bounded(decompress_into: Callable[[Any, bytearray], int]) -> Callable[[Any], bytes]:
    """Return a codec of `cramjam` that unpacks `UNPACKED_BYTES` at most."""

    def unpack(payload: Any) -> bytes:
        size = max(1 << 16, _FIRST_RATIO * len(payload))
        while True:
            size = min(size, UNPACKED_BYTES)
            room = bytearray(size)
            try:
                n_bytes = decompress_into(payload, room)
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):  # it is damaged
                    raise
                if size == UNPACKED_BYTES:
                    raise BatchTooLargeError from error
                size *= _FIRST_RATIO
            else:
                return _noted(bytes(memoryview(room)[:n_bytes]))

    return unpack


def _noted(unpacked: bytes) -> bytes:
    _Unpacked.total += len(unpacked)
    return unpacked


class _StandIn(NamedTuple):
    """The record that stands for a batch, with what aiokafka asks of a record."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes
    key: bytes | None = None
    checksum: None = None
    headers: tuple[()] = ()


class _Batch:
    """A batch of aiokafka, of which one record stands for those that cannot be decoded."""

    def __init__(self, batch: Any, place: object) -> None:
        self._batch = batch
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        batch = self._batch
        try:
            yield from batch
        except BatchTooLargeError:
            value = OVERSIZED
            why = f"unpacked they have more than {UNPACKED_BYTES >> 20} MiB"
        except Exception as error:  # noqa: BLE001 - whatever is in it must not end a process
            value, why = DAMAGED, f"from one on they cannot be decoded: {error!r}"
        else:
            return
        last = batch.next_offset - 1
        logger.warning(
            "records in %d to %d of %s are not read: %s", batch.base_offset, last, self._place, why
        )
        yield _StandIn(last, batch.max_timestamp, batch.timestamp_type, value)


class _Batches:
    """The batches of a fetch, until enough is unpacked."""

    def __init__(self, records: Any, place: object) -> None:
        self._records = records
        self._place = place
        self._until = _Unpacked.total + FETCH_BYTES

    def has_next(self) -> bool:
        """Return whether another batch is to be read; if not, the position is behind the last."""
        return _Unpacked.total < self._until and bool(self._records.has_next())

    def next_batch(self) -> _Batch:
        """Return the next one."""
        return _Batch(self._records.next_batch(), self._place)


class BoundedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of a partition in a fetch, as far as they may be unpacked."""

    def __init__(self, tp: Any, records: Any, *args: Any, **options: Any) -> None:
        super().__init__(tp, _Batches(records, tp), *args, **options)


def install() -> None:
    """Have the consumers of this process unpack no more than that."""
    codecs = sys.modules[DefaultRecordBatch.__module__]
    for name, unpack in {
        "gzip_decode": gzip_bounded,
        "lz4_decode": bounded(cramjam.lz4.decompress_into),
        "zstd_decode": bounded(cramjam.zstd.decompress_into),
    }.items():
        setattr(codecs, name, unpack)
    fetcher.PartitionRecords = BoundedRecords
