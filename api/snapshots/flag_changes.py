"""Changes of flags: what a client that has asked for all flags must hear of to ask again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b

import orjson

from streams.experiments.snapshot import Snapshot
from streams.model.errors import DependencyError

MAX_STREAMS = 1_024
"""Streams of one process. Each holds a connection, and those are for assignments, too."""

HEARTBEAT_S = 15.0
"""Seconds after which a silent stream sends a comment: proxies close what says nothing."""

RECENT_S = 5.0
"""Seconds for which a change is sent to new streams, too: their reader may have asked for the flags
before it, and connected after it."""

_DIGEST_BYTES = 8
_DIGEST_LIMIT = 1 << (8 * _DIGEST_BYTES)
_PING = b":\n\n"


class FlagChanges:
    """The state of all flags, and the streams of its changes.

    What moves by itself is no change: weights of adaptive policies decide for new units only.

    Attributes:
        n_streams: Number of open streams.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.n_streams = 0
        self._clock = clock
        self._digests: dict[int, tuple[int, int]] = {}
        self._sum = 0
        self._changed_at_s = float("-inf")
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def etag(self) -> str:
        """Validator of the state, the same in every process that knows the same."""
        return f'"{self._sum:016x}"'

    def note(self, snapshot: Snapshot) -> None:
        """Note a snapshot."""
        experiment = snapshot.experiment
        if experiment.key is None:
            return
        version, before = self._digests.get(experiment.number, (0, 0))
        if version != experiment.version:
            digest = _digest(snapshot)
            self._digests[experiment.number] = experiment.version, digest
            self._add(digest - before)

    def forget(self, snapshot: Snapshot) -> None:
        """Forget an experiment."""
        _, before = self._digests.pop(snapshot.experiment.number, (0, 0))
        self._add(-before)

    def close(self) -> None:
        """End all streams, as the process stops."""
        self._is_closed = True
        self._wake()

    def stream(self, last_seen: str | None) -> AsyncIterator[bytes]:
        """Return the server-sent events from now on.

        Args:
            last_seen: Id of the last event that the reader has seen; None if it has seen none.

        Raises:
            DependencyError: there are `MAX_STREAMS` (`TOO_MANY_STREAMS`).
        """
        if self.n_streams >= MAX_STREAMS:
            raise DependencyError(
                "api", f"{MAX_STREAMS} streams are open", code="TOO_MANY_STREAMS", retry_after_s=30
            )
        return self._events(last_seen)

    async def _events(self, last_seen: str | None) -> AsyncIterator[bytes]:
        self.n_streams += 1
        try:
            is_recent = self._clock() - self._changed_at_s < RECENT_S
            seen = self.etag
            # An id without data is an event that no reader sees, and that names where to resume.
            yield b"retry: 1000\nid: %b\n\n" % seen.encode()
            if last_seen != seen if last_seen is not None else is_recent:
                yield _event(seen)
            while not self._is_closed:
                changed = self._changed
                if self.etag == seen:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await changed.wait()
                    except TimeoutError:
                        yield _PING
                    continue
                seen = self.etag
                yield _event(seen)
        finally:
            self.n_streams -= 1

    def _add(self, difference: int) -> None:
        if difference:
            self._sum = (self._sum + difference) % _DIGEST_LIMIT
            self._changed_at_s = self._clock()
            self._wake()

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()


def _digest(snapshot: Snapshot) -> int:
    """Return a number that stands for all that the evaluation of a flag depends on."""
    experiment = snapshot.experiment
    promotion = experiment.promotion
    state = (
        experiment.number,
        experiment.status,
        experiment.winner,
        None if promotion is None else (promotion.variant, promotion.is_rolled_back),
        None if experiment.served is None else experiment.served.variant,
        experiment.definition.model_dump(by_alias=True, mode="json"),
    )
    digest = blake2b(orjson.dumps(state), digest_size=_DIGEST_BYTES).digest()
    return int.from_bytes(digest)


def _event(etag: str) -> bytes:
    data = orjson.dumps({"type": "refetchEvaluation", "etag": etag})
    return b"id: %b\ndata: %b\n\n" % (etag.encode(), data)
