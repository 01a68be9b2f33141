"""The recommended actions logged in `decisions`, by any worker and generation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from schemas.catalogue import DECISIONS
from schemas.codec import Codec
from streams.experiments.statistics import RecommendedAction
from streams.kafka.records import LogSource, StoredRecord
from streams.kafka.tail import LogTail
from streams.model.errors import EventError
from streams.wire.decisions import decode_decision
from streams.wire.framing import Framing


class LoggedActions:
    """The last logged action of every experiment, read incrementally.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._tail = LogTail(source, DECISIONS.name, framing)
        self._actions: dict[int, RecommendedAction] = {}

    async def read(self) -> dict[int, RecommendedAction]:
        """Return the last action by experiment; without one, the action is still the initial one.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        await self._tail.take(self._take)
        return dict(self._actions)

    def _take(self, records: Sequence[StoredRecord], codec: Codec) -> None:
        for record in records:
            with suppress(EventError, ValueError):  # a command, or an unreadable record
                decision = decode_decision(record.value, codec)
                self._actions[decision.experiment] = RecommendedAction(decision.kind)
