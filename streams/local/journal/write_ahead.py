"""Damage in the write-ahead file of an SQLite database, which SQLite takes for its end.

SQLite reads the frames of the file up to the first one whose checksum is wrong. After a power loss
that is where the last transaction was cut off. If the disk has damaged a frame further up, every
transaction from there on would disappear without a word. The format of the file is fixed:
https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

_HEADER = Struct(">8I")
_FRAME_HEADER = Struct(">6I")
_LITTLE_ENDIAN, _BIG_ENDIAN = 0x377F0682, 0x377F0683
"""First word of the file, by the byte order in which checksums take words."""

_CUT_OFF = 1
"""Transactions that a power loss leaves in part: the next one begins when it is on the disk."""


class _Frame(NamedTuple):
    """A page that a transaction has changed.

    Attributes:
        offset: Its place in the file.
        salts: Those of the header, unless the frame is left from before the file began anew.
        is_last: Whether it completes a transaction.
        checked: The bytes that its checksum is about, after those of all frames before it.
        checksum: What it should be.
    """

    offset: int
    salts: tuple[int, int]
    is_last: bool
    checked: bytes
    checksum: tuple[int, int]


def write_ahead_of(database: Path) -> Path:
    """Return where SQLite keeps the write-ahead file of a database."""
    return database.with_name(f"{database.name}-wal")


def damaged_at(path: Path) -> int | None:
    """Return the place from which on SQLite would leave out transactions that were on the disk.

    Args:
        path: A write-ahead file that no process writes.

    Returns:
        None for a file that is whole, was cut off in its last transaction, or is not there.
    """
    try:
        with path.open("rb") as file:
            return _damaged_at(file)
    except FileNotFoundError:
        return None


def _damaged_at(file: BinaryIO) -> int | None:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, page_size, _, *salts, first, second = _HEADER.unpack(header)
    order = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(magic)
    if order is None or _checksum(order, header[:-8], (0, 0)) != (first, second):
        return 0 if any(file.read()) else None
    checksum = first, second
    place: int | None = None
    n_after = 0
    for frame in _frames(file, page_size):
        if frame.salts != tuple(salts):
            # Left from before the file began anew, or damaged, too: what follows shows which.
            place = frame.offset if place is None else place
            continue
        if place is None:
            checksum = _checksum(order, frame.checked, checksum)
            place = None if checksum == frame.checksum else frame.offset
        if place is not None:
            n_after += frame.is_last
    return place if n_after > _CUT_OFF else None


def _frames(file: BinaryIO, page_size: int) -> Iterator[_Frame]:
    offset = file.tell()
    size = _FRAME_HEADER.size + page_size
    while len(data := file.read(size)) == size:
        _, n_pages, salt, other_salt, first, second = _FRAME_HEADER.unpack_from(data)
        checked = data[:8] + data[_FRAME_HEADER.size :]
        yield _Frame(offset, (salt, other_salt), n_pages > 0, checked, (first, second))
        offset += size


def _checksum(order: str, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    first, second = before
    for one, other in Struct(f"{order}II").iter_unpack(data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
