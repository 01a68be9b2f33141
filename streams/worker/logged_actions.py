"""The recommended actions logged in `decisions`, by any worker and generation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from schemas.catalogue import DECISIONS
from schemas.codec import Codec
from streams.fold.action_history import NOTHING_LOGGED, ActionHistory
from streams.kafka.records import LogSource, StoredRecord
from streams.kafka.tail import LogTail
from streams.model.errors import EventError
from streams.model.events import CommandKind
from streams.wire.decisions import decode_decision
from streams.wire.framing import Framing

_COMMAND = "command"


class LoggedActions:
    """The logged actions of every experiment, read incrementally: the last ones of each.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._tail = LogTail(source, DECISIONS.name, framing)
        self._actions: dict[int, ActionHistory] = {}
        self._commanded_ms: dict[int, int] = {}

    async def read(self) -> dict[int, ActionHistory]:
        """Return the actions by experiment; without any, the action is still the initial one.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        await self._tail.take(self._take)
        return dict(self._actions)

    def _take(self, records: Sequence[StoredRecord], codec: Codec) -> None:
        for record in records:
            with suppress(EventError, ValueError):  # a conclusion, or an unreadable record
                decision = decode_decision(record.value, codec)
                number = decision.experiment
                if decision.kind == _COMMAND:
                    if decision.evidence.get("command") != CommandKind.TICK:
                        self._commanded_ms[number] = decision.at_ms
                    continue
                before = self._actions.get(number, NOTHING_LOGGED)
                since_ms = self._commanded_ms.get(number, 0)
                self._actions[number] = before.followed_by(decision, since_ms)
