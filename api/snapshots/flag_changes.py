"""Changes of flags: what a client that has asked for all flags must hear of to ask again."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b

import orjson

from api.snapshots.event_streams import sent_event
from streams.experiments.snapshot import Snapshot

RECENT_S = 5.0
"""Seconds for which a change is sent to new streams, too: their reader may have asked for the flags
before it, and connected after it."""

_DIGEST_BYTES = 8
_DIGEST_LIMIT = 1 << (8 * _DIGEST_BYTES)


class FlagChanges:
    """The state of all flags, an `EventSource`.

    Adaptive weights do not count as changes: they affect new units only.

    Args:
        announce: Called with `key` at every change.
        clock: Seconds that only grow.
    """

    key = "flags"
    pause_s = 0.0

    def __init__(
        self,
        announce: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._announce = announce
        self._clock = clock
        self._digests: dict[int, tuple[int, int]] = {}
        self._sum = 0
        self._changed_at_s = float("-inf")

    @property
    def id(self) -> str:
        """Validator of the state, the same in every process that knows the same."""
        return f'"{self._sum:016x}"'

    def is_due(self, last_seen: str | None) -> bool:
        """Return whether a reader that begins now has missed a change."""
        if last_seen is not None:
            return last_seen != self.id
        return self._clock() - self._changed_at_s < RECENT_S

    async def event(self) -> tuple[str, bytes]:
        """Return the event that has readers ask for all flags again."""
        data = orjson.dumps({"type": "refetchEvaluation", "etag": self.id})
        return self.id, sent_event(self.id, data)

    def note(self, snapshot: Snapshot) -> None:
        """Note a snapshot."""
        experiment = snapshot.experiment
        if experiment.key is None and experiment.definition.config.holdout is None:
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

    def _add(self, difference: int) -> None:
        if difference:
            self._sum = (self._sum + difference) % _DIGEST_LIMIT
            self._changed_at_s = self._clock()
            self._announce(self.key)


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
