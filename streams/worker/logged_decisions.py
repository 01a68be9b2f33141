"""The topic `decisions` by experiment: recommended actions, and statistics at conclusions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from schemas.catalogue import DECISIONS
from schemas.codec import Codec
from streams.fold.action_history import NOTHING_LOGGED, ActionHistory
from streams.kafka.records import LogSource, StoredRecord
from streams.kafka.tail import LogTail
from streams.model.errors import EventError
from streams.model.events import CONCLUSION, CommandKind, Decision
from streams.model.partitioning import Partition
from streams.wire.decisions import decode_decision
from streams.wire.framing import Framing

_COMMAND = "command"


class LoggedDecisions:
    """Decisions logged by any worker and generation, read incrementally.

    The statistics at a conclusion may have a megabyte, so their place in the log is kept in memory
    and no more. The first ones of an experiment are those that count.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._source = source
        self._framing = framing
        self._tail = LogTail(source, DECISIONS.name, framing)
        self._actions: dict[int, ActionHistory] = {}
        self._commanded_ms: dict[int, int] = {}
        self._concluded: set[int] = set()
        self._places: dict[int, tuple[int, int]] = {}

    async def read(self) -> None:
        """Read on to the end of the log.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        await self._tail.take(self._take)

    def actions(self, number: int) -> ActionHistory:
        """Return the recommended actions of an experiment."""
        return self._actions.get(number, NOTHING_LOGGED)

    def has_conclusion(self, number: int) -> bool:
        """Return whether the log has the statistics at the conclusion of an experiment."""
        return number in self._places or number in self._concluded

    def note_conclusion(self, number: int) -> None:
        """Note that this worker has logged those of an experiment."""
        self._concluded.add(number)

    async def conclusions(self, experiments: Collection[int]) -> dict[int, bytes]:
        """Return the snapshots at the conclusions of those experiments that have one.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        places = {each: self._places[each] for each in experiments if each in self._places}
        found = await asyncio.to_thread(self._values, places)
        await self._framing.prepare(found.values())
        decoded: dict[int, Decision] = {
            number: decode_decision(value, self._framing.codec) for number, value in found.items()
        }
        return {number: each.snapshot for number, each in decoded.items() if each.snapshot}

    def _values(self, places: Mapping[int, tuple[int, int]]) -> dict[int, bytes]:
        """Return the records at these places; each partition is read once."""
        wanted: dict[int, dict[int, int]] = {}
        for number, (partition, offset) in places.items():
            wanted.setdefault(partition, {})[offset] = number
        found: dict[int, bytes] = {}
        for partition, numbers in wanted.items():
            begin, end = min(numbers), max(numbers) + 1
            for records in self._source.read(DECISIONS.name, partition, begin, end):
                for record in records:
                    if record.offset in numbers and record.value is not None:
                        found[numbers[record.offset]] = record.value
        return found

    def _take(self, partition: Partition, records: Sequence[StoredRecord], codec: Codec) -> None:
        for record in records:
            with suppress(EventError, ValueError):  # an unreadable record
                decision = decode_decision(record.value, codec)
                number = decision.experiment
                if decision.kind == CONCLUSION:
                    if decision.snapshot:
                        self._places.setdefault(number, (partition.number, record.offset))
                elif decision.kind == _COMMAND:
                    if decision.evidence.get("command") != CommandKind.TICK:
                        self._commanded_ms[number] = decision.at_ms
                else:
                    since_ms = self._commanded_ms.get(number, 0)
                    self._actions[number] = self.actions(number).followed_by(decision, since_ms)
