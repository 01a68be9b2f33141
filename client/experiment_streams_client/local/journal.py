"""Impressions that were answered and are not delivered yet, in files.

Every impression is a row, durable before its assignment is answered: a row that was appended
survives the death of the process, though not of the machine. The files are those of the API's spool
(`api.spool`): a directory for each process, locked while it lives, and adopted by the next one.

A file becomes at most one batch for each partition, once no more is appended to it. Its first entry
has all that numbers them: the number of the process, the id of the key that seals, and the next
sequence of each partition. So batches made from a file are always the same, and a batch that is
sent again counts once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from api.outbox import ImpressionRow, groups_of
from api.spool.entries import ADDRESS, HEAD_BYTES, entries, intact_entries, whole_entry
from api.spool.spool import Segment, Spool
from experiment_streams_client.forks import unwatch_forks, watch_forks
from streams.model.events import ImpressionBatch, OutsideRequests
from streams.model.receipts import Receipt

HEAD = 5
ROW = 6
OUTSIDE = 7
"""Numbers of the kinds of entries; they must not change."""

SEGMENT_BYTES = 2**17
"""Of a file: its batches are far below the limit of a record."""

_HEAD = struct.Struct(">BQBH")
_VERSION = 1
_new_tuple = tuple.__new__  # half the time of calling the class
_ADDRESS = struct.Struct(ADDRESS)
_ROW = struct.Struct(">?QHQQQQB")
_OUTSIDE = struct.Struct(">QQ")
_N_TEXTS = len(ImpressionRow._field_defaults)
_WITHOUT = [b""] * _N_TEXTS
_SIZED_ROW = struct.Struct(f"{ADDRESS}{_ROW.format.removeprefix('>')}{_N_TEXTS}B")
_pack_row = _SIZED_ROW.pack
_SIZED_ROW_BYTES = HEAD_BYTES + _SIZED_ROW.size - _ADDRESS.size


class DamagedFileError(Exception):
    """A file that does not begin as the files of a journal do."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the journal that no more is appended to.

    Attributes:
        key_id: Id of the key that seals its batches.
        batches: Its batches, one for each partition that has rows.
        n_rows: Impressions in them.
    """

    key_id: int
    batches: list[ImpressionBatch]
    n_rows: int


class Journal:
    """The files of this process, and of dead ones. May be shared by threads.

    Args:
        root: Directory of all journals.
        incarnation: 64-bit number of this process; no other process may have it.
        key_id: Id of the key that seals.
        partitions: Partitions of the topic of impressions.
        max_bytes: Most bytes in all files.

    Raises:
        ConfigurationError: a directory or file cannot be made.
    """

    def __init__(
        self, root: Path, incarnation: int, key_id: int, partitions: int, max_bytes: int
    ) -> None:
        name = f"{incarnation:016x}"
        self._spool = Spool(root, name, max_bytes, segment_bytes=SEGMENT_BYTES, is_mapped=True)
        self._append = self._spool.append_mapped
        self._head_bytes = HEAD_BYTES + _HEAD.size + 8 * partitions
        self._incarnation = incarnation
        self._key_id = key_id
        self._partitions = partitions
        self._sequences = [0] * partitions
        self._used: set[int] = set()
        self._turn = incarnation % partitions
        self._lock = Lock()
        self._written: Segment | None = None
        self._room = 0  # bytes for which it is known that they fit behind what is written
        watch_forks(self)

    @property
    def size_bytes(self) -> int:
        """Bytes in all files."""
        return self._spool.size_bytes

    def append(self, receipt: Receipt, context: str, is_repeatable: bool) -> None:  # noqa: FBT001
        """Append an impression; it is durable when this returns.

        Args:
            receipt: Its receipt.
            context: What is logged of the request; JSON, empty for nothing.
            is_repeatable: Whether its unit may come again.

        Raises:
            SpoolFullError: there is no room, or the disk refuses it; it is not in.
        """
        experiment, variant, propensity, version, at_ms, unit, _, weights, features, values = (
            receipt
        )
        texts = features + weights + values + context.encode()
        size = _SIZED_ROW_BYTES + len(texts)
        lock = self._lock
        lock.acquire()  # a third of the time of `with`
        try:
            if size > self._room:
                self._make_room(size)
            # Impressions of one unit must meet in one partition to be counted once.
            place = unit * self._partitions >> 64 if is_repeatable else self._turn
            row = _pack_row(
                ROW,
                place,
                is_repeatable,
                experiment,
                variant,
                propensity,
                version,
                at_ms,
                unit,
                _N_TEXTS,
                len(features),
                len(weights),
                len(values),
            )
            self._append(whole_entry(row + texts))
            self._room -= size
            self._used.add(place)
        finally:
            lock.release()

    def append_outside(self, counts: Iterable[OutsideRequests]) -> None:
        """Append how many requests did not take part.

        Raises:
            SpoolFullError: as `append`.
        """
        with self._lock:
            for experiment, reason, requests in counts:
                payload = _OUTSIDE.pack(experiment, requests) + reason.encode()
                self._make_room(HEAD_BYTES + len(payload))
                self._append(whole_entry(_ADDRESS.pack(OUTSIDE, self._turn) + payload))
                self._room = 0
                self._used.add(self._turn)

    def sealed(self) -> list[Segment]:
        """Return the files to be delivered, the oldest first; what was appended is in them."""
        with self._lock:
            self._spool.seal()
            self._room = 0
            return self._spool.sealed

    def read(self, segment: Segment) -> File:
        """Return the batches of a file.

        Raises:
            DamagedFileError: it does not begin as it should.
        """
        data = segment.path.read_bytes()
        found, end = intact_entries(data)
        if not _is_unused(data[end:]):
            for offset, record in entries(segment.path, end, segment.bytes_written):
                if record is not None:
                    found.append(record)
                    continue
                with self._lock:
                    self._spool.quarantine(segment, offset, "no impression can be read here")
        if not found:  # the process died before anything was answered
            return File(self._key_id, [], 0)
        head, *of_rows = found
        if head.topic != HEAD:
            raise DamagedFileError(f"{segment.path} does not begin with a head")
        version, incarnation, key_id, partitions = _HEAD.unpack_from(head.payload)
        if version != _VERSION:
            raise DamagedFileError(f"{segment.path} is of version {version}")
        sequences = struct.unpack_from(f">{partitions}Q", head.payload, _HEAD.size)
        rows: dict[int, list[ImpressionRow]] = {}
        outside: list[OutsideRequests] = []
        turn = 0
        for kind, place, payload in of_rows:
            of_place = rows.setdefault(place, [])
            if kind == ROW:
                of_place.append(_decode(payload))
            else:
                counted = _OUTSIDE.unpack_from(payload)
                reason = payload[_OUTSIDE.size :].decode()
                outside.append(OutsideRequests(counted[0], reason, counted[1]))
                turn = place
        batches = [
            ImpressionBatch(
                incarnation,
                place,
                sequences[place],
                groups_of(of_place),
                outside if outside and place == turn else (),
            )
            for place, of_place in sorted(rows.items())
        ]
        return File(key_id, batches, sum(map(len, rows.values())))

    def forget(self, segment: Segment) -> None:
        """Delete a file that was delivered."""
        with self._lock:
            segment.is_handed_out = True
            self._spool.trim(segment)

    def put_aside(self, segment: Segment, reason: str) -> None:
        """Keep a file that cannot be delivered as `.damaged`."""
        with self._lock:
            self._spool.quarantine(segment, 0, reason)
            segment.is_handed_out = True
            self._spool.trim(segment)

    def close(self) -> None:
        """Let go of the files; what is left is adopted by the next process."""
        with self._lock:
            unwatch_forks(self)
            self._spool.close()

    def after_fork(self) -> None:
        """Let go of the files, which are the parent's; see `experiment_streams_client.forks`."""
        self._spool.disown()

    def _make_room(self, size: int) -> None:
        """Have room for an entry, in a file that has begun."""
        self._room = self._spool.make_room(size, self._head_bytes)
        if self._spool.active is not self._written:
            self._begin()

    def _begin(self) -> None:
        for place in self._used:
            self._sequences[place] += 1
        self._used.clear()
        self._turn = (self._turn + 1) % self._partitions
        head = _HEAD.pack(_VERSION, self._incarnation, self._key_id, self._partitions)
        numbers = struct.pack(f">{self._partitions}Q", *self._sequences)
        self._append(whole_entry(_ADDRESS.pack(HEAD, 0) + head + numbers))
        self._room -= self._head_bytes
        self._written = self._spool.active


def _is_unused(rest: bytes) -> bool:
    """Return whether the rest of a file holds nothing, or an entry that was never answered."""
    written = len(rest.rstrip(b"\0"))
    return written < HEAD_BYTES or written < HEAD_BYTES + int.from_bytes(rest[:4])


def _decode(payload: bytes) -> ImpressionRow:
    repeatable, experiment, variant, propensity, version, at_ms, unit, n_texts = _ROW.unpack_from(
        payload
    )
    place = _ROW.size + n_texts
    if len(payload) == place and n_texts == len(_WITHOUT):
        fields = (experiment, repeatable, variant, propensity, version, at_ms, unit, "", *_WITHOUT)
        return _new_tuple(ImpressionRow, fields)
    texts: list[bytes] = []
    for size in payload[_ROW.size : place]:
        texts.append(payload[place : place + size])
        place += size
    context = payload[place:].decode()
    return ImpressionRow(
        experiment, repeatable, variant, propensity, version, at_ms, unit, context, *texts
    )
