"""The format of a spool file: entries, one after the other.

    length of the payload u32, CRC-32 of all that follows u32, topic u8, partition u16, payload

big-endian.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAX_ENTRY_BYTES = 128 * 2**20
"""No entry is longer: a request body has at most half of it."""

MAX_TOPIC = 7
"""Largest topic number that is looked for behind a damaged entry."""

ADDRESS = ">BH"
"""Format of what precedes a payload: topic and partition."""

_HEADER = struct.Struct(">II")
_ADDRESS = struct.Struct(ADDRESS)
_CHUNK_BYTES = 2**18
HEAD_BYTES = _HEADER.size + _ADDRESS.size

_new_tuple = tuple.__new__  # half the time of calling the class, for what is done per entry
_log = logging.getLogger(__name__)


class SpoolRecord(NamedTuple):
    """A record for Kafka.

    Attributes:
        topic: Small number that stands for the topic, below 256.
        partition: Partition of the topic, below 65,536.
        payload: The record's value.
    """

    topic: int
    partition: int
    payload: bytes


def encode_entry(record: tuple[int, int, bytes]) -> tuple[bytes, bytes, bytes]:
    """Return the entry of a record, in parts to be written one after the other."""
    topic, partition, payload = record
    address = _ADDRESS.pack(topic, partition)
    return _HEADER.pack(len(payload), crc32(payload, crc32(address))), address, payload


def whole_entry(body: bytes) -> bytes:
    """Return the entry of a short record; it copies the payload, and takes half the time.

    Args:
        body: Topic and partition (`ADDRESS`), and the payload.
    """
    return _HEADER.pack(len(body) - _ADDRESS.size, crc32(body)) + body


def entries(
    path: Path, offset: int, size: Callable[[], int]
) -> Iterator[tuple[int, SpoolRecord | None]]:
    """Yield (offset, record) of a file from `offset` on; None for bytes that are no entry.

    Args:
        path: The file.
        offset: Where the first entry begins.
        size: Returns the bytes written to the file; it may grow meanwhile.
    """
    try:
        file = path.open("rb", buffering=_CHUNK_BYTES)
    except FileNotFoundError:
        yield offset, None
        return
    with file:
        while offset < (end := size()):
            file.seek(offset)
            head = file.read(HEAD_BYTES)
            record, length = read_entry(head, file.read)
            if record is not None:
                yield offset, record
                offset += length
                continue
            left = end - offset
            later = _next_entry(path, offset + 1, end)
            if later is None and (len(head) < HEAD_BYTES or length > left):
                _log.info("%s ends in an entry that was never answered", path)
                return
            yield offset, None
            if later is None:
                return
            offset = later


def intact_entries(data: bytes) -> tuple[list[SpoolRecord], int]:
    """Return the entries with which the bytes of a file begin, and where the first other begins.

    It takes a quarter of the time of `entries`, which continues behind a damaged entry.
    """
    found: list[SpoolRecord] = []
    place, limit = 0, len(data) - HEAD_BYTES
    while place <= limit:
        length, expected = _HEADER.unpack_from(data, place)
        end = place + HEAD_BYTES + length
        if end > len(data) or crc32(data[place + _HEADER.size : end]) != expected:
            break
        topic, partition = _ADDRESS.unpack_from(data, place + _HEADER.size)
        found.append(_new_tuple(SpoolRecord, (topic, partition, data[place + HEAD_BYTES : end])))
        place = end
    return found, place


def read_entry(head: bytes, read: Callable[[int], bytes]) -> tuple[SpoolRecord | None, int]:
    """Return the entry with this head, and the bytes it takes; no entry if it is not whole."""
    if len(head) < HEAD_BYTES:
        return None, HEAD_BYTES
    length, expected = _HEADER.unpack_from(head)
    if length > MAX_ENTRY_BYTES:
        return None, HEAD_BYTES + length
    payload = read(length)
    if len(payload) < length or crc32(payload, crc32(head[_HEADER.size :])) != expected:
        return None, HEAD_BYTES + length
    topic, partition = _ADDRESS.unpack_from(head, _HEADER.size)
    return SpoolRecord(topic, partition, payload), HEAD_BYTES + length


def _next_entry(path: Path, offset: int, end: int) -> int | None:
    """Return where the next good entry of a damaged file begins; None without one.

    Nearly every wrong place is ruled out by its length and topic: a checksum is computed at one in
    several thousand.
    """
    data = path.read_bytes()[:end]
    for start in range(offset, len(data) - HEAD_BYTES + 1):
        length = int.from_bytes(data[start : start + 4])
        if (
            length > min(MAX_ENTRY_BYTES, len(data) - start - HEAD_BYTES)
            or data[start + 8] > MAX_TOPIC
        ):
            continue
        body = start + HEAD_BYTES
        found, _ = read_entry(data[start:body], BytesIO(data[body : body + length]).read)
        if found is not None:
            return start
    return None
