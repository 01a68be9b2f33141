"""Tables that no worker runs: their writes reach no changelog."""

from __future__ import annotations

from collections.abc import Mapping

from streams.settings import Settings
from streams.worker.app import make_app
from streams.worker.tables import DurableTable

Entries = Mapping[bytes, tuple[int, bytes]]


def table_of(partition: int, entries: Entries | None = None) -> DurableTable:
    """Return a table with these entries in one partition."""
    settings = Settings(partitions=4)
    table = DurableTable(make_app(settings), name="state", partitions=settings.partitions)
    put_all(table, partition, entries or {})
    return table


def put_all(table: DurableTable, partition: int, entries: Entries) -> None:
    for key, (offset, body) in entries.items():
        table.put(partition, key, offset, body)
