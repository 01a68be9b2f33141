"""The recommended actions as they stand in `decisions`, whoever has logged them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from schemas.catalogue import DECISIONS
from streams.domain.errors import EventError
from streams.experiments.snapshot import RecommendedAction
from streams.log.records import LogSource, StoredRecord
from streams.wire.decisions import decode_decision
from streams.wire.registry import Framing


class LoggedActions:
    """The last action of every experiment; read from where it was read before.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._source = source
        self._framing = framing
        self._ends: dict[int, int] = {}
        self._actions: dict[int, RecommendedAction] = {}

    async def read(self) -> dict[int, RecommendedAction]:
        """Return the last action by experiment; without one it was never another than the first.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        records, ends = await asyncio.to_thread(self._new_records)
        await self._framing.prepare(record.value for record in records)
        await asyncio.to_thread(self._take, records)
        self._ends = ends
        return dict(self._actions)

    def _take(self, records: Sequence[StoredRecord]) -> None:
        for record in records:
            with suppress(EventError, ValueError):  # a command, or what nobody can read
                decision = decode_decision(record.value, self._framing.codec)
                self._actions[decision.experiment] = RecommendedAction(decision.kind)

    def _new_records(self) -> tuple[list[StoredRecord], dict[int, int]]:
        found: list[StoredRecord] = []
        ends: dict[int, int] = {}
        for partition, span in sorted(self._source.spans(DECISIONS.name).items()):
            begin = max(span.begin, self._ends.get(partition, 0))
            for records in self._source.read(DECISIONS.name, partition, begin, span.end):
                found += records
            ends[partition] = max(begin, span.end)
        return found, ends
