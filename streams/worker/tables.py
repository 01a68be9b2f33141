"""A Faust table whose writes can be awaited, and whose recovery cannot go backwards.

Stock tables hand a write to a buffer and forget it: the offset may be committed before the record
is durable. The writes of a `DurableTable` are delivered by its `barrier`. It also keeps
its entries by partition, since every key belongs to the partition of the events that fed it, and
lets the entry with the larger offset win, since a worker that was frozen may write an older one
last.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from faust.types import TP, EventT

from streams.worker.outbox import Outgoing, deliver

_OFFSET = struct.Struct(">q")


def pack(offset: int, body: bytes) -> bytes:
    """Return the changelog value of `body`, which is true up to and including `offset`."""
    return _OFFSET.pack(offset) + body


def unpack(value: bytes) -> tuple[int, bytes]:
    """Return (offset, body) of a changelog value; the inverse of `pack`."""
    return _OFFSET.unpack_from(value)[0], value[_OFFSET.size :]


class DurableTable(faust.Table[bytes, bytes]):
    """Entries by partition and key, each with the offset it is true up to.

    It is written with `put` and `forget` alone, not as a mapping: those know their partition
    without Faust's notion of a current event.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._entries: dict[int, dict[bytes, bytes]] = {}
        self._applied: dict[int, int] = {}
        self._unwritten: defaultdict[int, list[Outgoing]] = defaultdict(list)
        self.records_read = 0
        """Changelog records taken since the start, by which a recovery is seen to make progress."""

    def entries(self, partition: int) -> Mapping[bytes, bytes]:
        """Return the packed values of a partition by key."""
        return self._entries.get(partition, {})

    def get_entry(self, partition: int, key: bytes) -> tuple[int, bytes] | None:
        """Return (offset, body) of a key, or None."""
        value = self.entries(partition).get(key)
        return None if value is None else unpack(value)

    def put(self, partition: int, key: bytes, offset: int, body: bytes) -> None:
        """Write an entry that is true up to `offset`; durable after the next `barrier`."""
        value = pack(offset, body)
        self._entries.setdefault(partition, {})[key] = value
        self._unwritten[partition].append(Outgoing(key, value, partition))

    def forget(self, partition: int, key: bytes) -> None:
        """Remove an entry for good; durable after the next `barrier`."""
        if self._entries.get(partition, {}).pop(key, None) is not None:
            self._unwritten[partition].append(Outgoing(key, None, partition))

    async def barrier(self, partition: int, timeout: float) -> None:
        """Return once every write to `partition` so far is acknowledged by all in-sync replicas.

        Raises:
            TimeoutError: it took longer than `timeout` seconds.
            KafkaError: a write failed.
        """
        writes = self._unwritten.pop(partition, [])
        # Not by Faust's buffer for changelogs, which has a flush that may leave records behind.
        for record in await deliver(self.changelog_topic, writes, timeout):
            # Recovery need not read again what this process wrote itself, as long as nobody else
            # wrote in between.
            if record.offset == self._applied.get(record.partition, -1) + 1:
                self._applied[record.partition] = record.offset

    def persisted_offset(self, tp: TP) -> int:
        """Return the last changelog offset the entries include; recovery goes on behind it."""
        return self._applied.get(tp.partition, -1)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Take changes read from the changelog, unless an entry is known to a larger offset."""
        generation = self.app.consumer_generation_id
        for event in batch:
            message = event.message
            if message.generation_id != generation:
                # Left over from before a rebalance: the partition may have been dropped since, and
                # would seem to be complete up to here. Recovery reads it again.
                continue
            entries = self._entries.setdefault(message.partition, {})
            key, value = cast(bytes, message.key), message.value
            if value is None:
                entries.pop(key, None)
            elif key not in entries or unpack(value)[0] >= unpack(entries[key])[0]:
                entries[key] = value
            self._applied[message.partition] = message.offset
            self.records_read += 1

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],  # noqa: ARG002 - what is assigned says it all
        newly_assigned: set[TP],  # noqa: ARG002
        generation_id: int = 0,  # noqa: ARG002
    ) -> None:
        """Drop the partitions that are somebody else's now."""
        name = self.changelog_topic_name
        mine = {tp.partition for tp in assigned if tp.topic == name}
        for partition in self._entries.keys() - mine:
            self._entries.pop(partition)
        for partition in self._applied.keys() - mine:
            self._applied.pop(partition)
