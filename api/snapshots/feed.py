"""Snapshots for processes that assign by themselves: those that changed after a position."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import orjson

from streams.experiments.snapshot import Snapshot
from streams.model.errors import DependencyError
from streams.model.number_texts import whole_number
from streams.model.receipts import Keyring
from streams.wire.snapshots import serving_state

FORMAT = 1
"""Of the states: a reader that does not know it must not decide by them."""

PROOF = b"snapshots "
"""Before the position: what the keys of an answer are tags of."""

MAX_WAITING = 1_024
"""Readers that wait at once. Each holds a connection, and those are for assignments, too."""

GATHER_S = 0.05
"""Time for which changes are gathered, in seconds: busy experiments change many times a second."""

LOOK_S = 0.5
"""Interval of checks for experiments whose units must be asked for."""


class SnapshotFeed:
    """The newest state of every experiment, with the order in which they changed.

    A position is of this process: a reader that comes from another one is sent everything.

    Attributes:
        n_waiting: Readers that wait for a change.

    Args:
        name: Unique name of this process.
        partitions: Partitions of impressions.
        keyring: The receipt keys, of which readers compare theirs.
        asked_for: Returns the experiments all of whose units must be asked for.
        refused: Returns the experiments whose units another one of their layer has.
        is_ready: Returns whether everything was read once.
        now_ms: Returns the time, in milliseconds since the epoch; readers compare their clocks.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        partitions: int,
        keyring: Keyring,
        asked_for: Callable[[], AbstractSet[str]],
        refused: Callable[[], AbstractSet[str]],
        is_ready: Callable[[], bool],
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n_waiting = 0
        self._name = name
        self._partitions = partitions
        self._keyring = keyring
        self._asked_for = asked_for
        self._refused = refused
        self._is_ready = is_ready
        self._now_ms = now_ms
        self._clock = clock
        self._count = 0
        self._changes: dict[str, int] = {}  # in their order
        self._snapshots: dict[str, Snapshot] = {}
        self._rendered: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self._is_closed = False

    def close(self) -> None:
        """Answer all who wait, as the process stops."""
        self._is_closed = True
        self._changed.set()

    def note(self, snapshot: Snapshot) -> None:
        """Note a snapshot."""
        name = snapshot.experiment.id
        experiment = snapshot.experiment
        if experiment.is_assigning or experiment.shipped is not None:
            self._snapshots[name] = snapshot
        elif self._snapshots.pop(name, None) is None:
            return  # no reader has it: it is a draft, or gone before
        self._note(name)

    def forget(self, snapshot: Snapshot) -> None:
        """Forget an experiment."""
        if self._snapshots.pop(snapshot.experiment.id, None) is not None:
            self._note(snapshot.experiment.id)

    async def read(self, after: str, wait_s: float) -> bytes:
        """Return the JSON of what changed after a position, as soon as there is something.

        Args:
            after: `position` of the answer before; empty for everything.
            wait_s: Longest wait for a change, in seconds; then the answer has none.

        Raises:
            DependencyError: not everything was read from Redis yet, or `MAX_WAITING` readers wait
                (`TOO_MANY_STREAMS`).
        """
        if not self._is_ready():
            raise DependencyError("redis", "the experiments have not been read from Redis yet")
        if after == self._position() and wait_s and not self._is_closed:
            await self._wait(after, wait_s)
        return self._answer(after)

    async def _wait(self, after: str, wait_s: float) -> None:
        if self.n_waiting >= MAX_WAITING:
            raise DependencyError(
                "api", f"{MAX_WAITING} readers wait", code="TOO_MANY_STREAMS", retry_after_s=30
            )
        self.n_waiting += 1
        until_s = self._clock() + wait_s
        try:
            while (
                self._position() == after
                and not self._is_closed
                and (left_s := until_s - self._clock()) > 0
            ):
                changed = self._changed
                try:
                    async with asyncio.timeout(min(left_s, LOOK_S)):
                        await changed.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(GATHER_S)
        finally:
            self.n_waiting -= 1

    def _answer(self, after: str) -> bytes:
        known = self._known(after)
        changed = [name for name, count in self._changes.items() if known is None or count > known]
        states = [self._render(name) for name in changed if name in self._snapshots]
        gone = [name for name in changed if name not in self._snapshots]
        position = self._position()
        place = PROOF + position.encode()
        head = {
            "format": FORMAT,
            "position": position,
            "nowMs": self._now_ms(),
            "keys": [self._keyring.tag(place, key_id=each).hex() for each in self._keyring.ids],
            "isWhole": known is None,
            "partitions": self._partitions,
            "askedFor": sorted(self._asked_for()),
            "refused": sorted(self._refused()),
            "gone": [] if known is None else gone,
        }
        return b'%b,"states":[%b]}' % (orjson.dumps(head)[:-1], b",".join(states))

    def _known(self, after: str) -> int | None:
        """Return the changes that a reader has seen; None where that is not known here."""
        name, _, rest = after.partition(".")
        count = whole_number(rest.partition(".")[0])
        is_known = name == self._name and count is not None and 0 <= count <= self._count
        return count if is_known else None

    def _position(self) -> str:
        return f"{self._name}.{self._count}.{len(self._asked_for())}"

    def _render(self, name: str) -> bytes:
        rendered = self._rendered.get(name)
        if rendered is None:
            rendered = self._rendered[name] = orjson.dumps(serving_state(self._snapshots[name]))
        return rendered

    def _note(self, name: str) -> None:
        self._count += 1
        self._changes.pop(name, None)
        self._changes[name] = self._count
        self._rendered.pop(name, None)
        self._changed.set()
        self._changed = asyncio.Event()
