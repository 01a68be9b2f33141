"""A Faust table with awaited writes and a recovery that cannot go backwards.

A stock table buffers a write, and the offset may be committed before the record is durable; the
`barrier` of a `DurableTable` waits for its writes. Entries are kept by partition, since every key
belongs to the partition of the events it was made from. The entry with the larger offset wins,
since a worker that was frozen may write an older one last.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from faust.tables import TableManager
from faust.types import TP, EventT

from streams.worker.outbox import Outgoing, deliver

_OFFSET = struct.Struct(">q")


def pack(offset: int, body: bytes) -> bytes:
    """Return the changelog value of `body`, which is valid up to and including `offset`."""
    return _OFFSET.pack(offset) + body


def unpack(value: bytes) -> tuple[int, bytes]:
    """Return (offset, body) of a changelog value; the inverse of `pack`."""
    return _OFFSET.unpack_from(value)[0], value[_OFFSET.size :]


class PromptTableManager(TableManager):
    """The tables of an app that declares agents and tables before it starts.

    The stock manager waits a second for tables that agents may still declare: a second in which
    every start and restart of a worker does nothing. The agents need no time: Faust starts them
    first, and each has subscribed to its topics when it has started.
    """

    async def on_start(self) -> None:
        """Start recovery at once."""
        await self._update_channels()
        await self.recovery.start()


class DurableTable(faust.Table[bytes, bytes]):
    """Entries by partition and key, each with the offset up to which it is valid.

    Only `put` and `forget` write it. As a mapping it would need Faust's current event to know the
    partition.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._entries: dict[int, dict[bytes, bytes]] = {}
        self._applied: dict[int, int] = {}
        self._unwritten: defaultdict[int, list[Outgoing]] = defaultdict(list)
        self.records_read = 0
        """Changelog records applied since the start; shows the progress of a recovery."""

    def entries(self, partition: int) -> Mapping[bytes, bytes]:
        """Return the packed values of a partition by key."""
        return self._entries.get(partition, {})

    def get_entry(self, partition: int, key: bytes) -> tuple[int, bytes] | None:
        """Return (offset, body) of a key, or None."""
        value = self.entries(partition).get(key)
        return None if value is None else unpack(value)

    def put(self, partition: int, key: bytes, offset: int, body: bytes) -> None:
        """Write an entry that is valid up to `offset`; durable after the next `barrier`."""
        value = pack(offset, body)
        self._entries.setdefault(partition, {})[key] = value
        self._unwritten[partition].append(Outgoing(key, value, partition))

    def forget(self, partition: int, key: bytes) -> None:
        """Delete an entry; durable after the next `barrier`."""
        if self._entries.get(partition, {}).pop(key, None) is not None:
            self._unwritten[partition].append(Outgoing(key, None, partition))

    async def barrier(self, partition: int, timeout: float) -> None:
        """Wait until every write to `partition` so far is acknowledged by all in-sync replicas.

        Raises:
            TimeoutError: this took longer than `timeout` seconds.
            KafkaError: a write failed.
        """
        writes = self._unwritten.pop(partition, [])
        # Not through Faust's changelog buffer, whose flush may leave records behind.
        for record in await deliver(self.changelog_topic, writes, timeout):
            # Recovery skips what this process wrote, unless another worker wrote in between.
            if record.offset == self._applied.get(record.partition, -1) + 1:
                self._applied[record.partition] = record.offset

    def persisted_offset(self, tp: TP) -> int:
        """Return the last changelog offset that the entries include; recovery resumes after it."""
        return self._applied.get(tp.partition, -1)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Apply changelog records, except those older than the entry of their key."""
        generation = self.app.consumer_generation_id
        for event in batch:
            message = event.message
            if message.generation_id != generation:
                # From before a rebalance: the partition may have been dropped since, and would look
                # complete up to this offset. Recovery reads it again.
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
        revoked: set[TP],  # noqa: ARG002 - all that is not assigned
        newly_assigned: set[TP],  # noqa: ARG002
        generation_id: int = 0,  # noqa: ARG002
    ) -> None:
        """Drop the partitions that are no longer assigned to this worker."""
        name = self.changelog_topic_name
        mine = {tp.partition for tp in assigned if tp.topic == name}
        for partition in self._entries.keys() - mine:
            self._entries.pop(partition)
        for partition in self._applied.keys() - mine:
            self._applied.pop(partition)
