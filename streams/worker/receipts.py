"""Rebuilding of first receipts that Redis has lost, and removal of those no longer needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.projection.receipts import ReceiptStore
from streams.replay.receipt_rebuild import RENEW_S, keep_new
from streams.replay.receipts import ReceiptLog
from streams.worker import metrics

LOOK_S = 1.0
"""Interval of checking that Redis still holds the receipts."""

SETTLE_S = 15.0
"""Time for which the log is followed after the receipts were declared complete: an API may log
receipts late that it issued during the rebuild, and exit before it has stored them."""

FREE_S = 30.0
"""Interval of looking for receipts of archived experiments."""

RETENTION_S = 60.0
"""Time between the archive of an experiment and the removal of its receipts: an API process that
has not seen the archive would store new ones."""

logger = logging.getLogger(__name__)


class ReceiptKeeper:
    """A loop that rebuilds first receipts when Redis has lost them, on one worker at a time.

    Args:
        store: Stores the receipts.
        log: Returns the receipts of the log, from its beginning.
        worker_id: Name of this worker.
        archived: Returns the ids of this worker's archived experiments.
        clock: Monotonic seconds.
        renew_s: Seconds between two renewals of the lease.
        lowered: Returns the ids of this worker's experiments whose share was lowered: from then on
            their units must be known, and earlier units are in the log.
    """

    def __init__(
        self,
        store: ReceiptStore,
        log: Callable[[], ReceiptLog],
        worker_id: str,
        archived: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
        renew_s: float = RENEW_S,
        lowered: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._renew_s = renew_s
        self._store = store
        self._log = log
        self._worker_id = worker_id
        self._archived = archived
        self._lowered = lowered
        self._clock = clock
        self._followed: ReceiptLog | None = None
        self._follow_until_s = 0.0
        self._free_at_s = 0.0
        self._archived_at_s: dict[str, float] = {}

    async def run(self) -> None:
        """Check for lost receipts, indefinitely."""
        while True:
            try:
                await self.look()
            except (DependencyError, LogError) as error:
                logger.warning("first receipts: %s", error)
            except Exception:
                logger.exception("first receipts: this was not expected, and is tried again")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Check once, and rebuild or remove receipts as needed.

        Raises:
            DependencyError: Redis, Kafka or the schema registry does not answer.
            LogError: records were deleted while they were read.
        """
        # All units of these must be known, and earlier ones were assigned by their hash only.
        logged = {*self._lowered(), *await self._store.aliased()}
        if not await self._store.is_complete():
            self._followed = None
            if await self._store.lease(self._worker_id):
                await self._rebuild(logged)
        elif logged and not logged <= await self._store.rebuilt():
            if await self._store.lease(self._worker_id):
                await self._rebuild(logged)
        elif self._followed is not None:
            await self._keep_new(self._followed)
            if self._clock() >= self._follow_until_s:
                self._followed = None
                await self._store.release(self._worker_id)
        elif self._clock() >= self._free_at_s:
            self._free_at_s = self._clock() + FREE_S
            await self._free()

    async def _rebuild(self, logged: Iterable[str]) -> None:
        began_s = self._clock()
        logger.warning("Redis does not hold all first receipts: rebuilding them from the log")
        log = self._log()
        log.aliased.update(await self._store.aliased())
        kept = await self._keep_new(log)
        if kept is None or not await self._store.declare_complete(self._worker_id):
            return  # another worker has taken over, or Redis was emptied once more
        await self._store.note_rebuilt({*logged, *log.aliased})
        self._followed, self._follow_until_s = log, self._clock() + SETTLE_S
        took_s = self._clock() - began_s
        metrics.RECEIPT_REBUILDS.inc()
        logger.warning(
            "first receipts are complete: %d kept of %d impressions in %.1f s",
            kept,
            log.impressions,
            took_s,
        )

    async def _keep_new(self, log: ReceiptLog) -> int | None:
        return await keep_new(log, self._store, self._worker_id, self._renew_s)

    async def _free(self) -> None:
        """Remove the receipts of experiments that were archived a while ago."""
        archived = set(self._archived())
        now_s = self._clock()
        for experiment_id, phase in await self._store.places():
            if experiment_id not in archived:
                continue
            if now_s - self._archived_at_s.setdefault(experiment_id, now_s) >= RETENTION_S:
                await self._store.free(experiment_id, phase)
                logger.info("removed the first receipts of %s", experiment_id)
        self._archived_at_s = {
            name: at_s for name, at_s in self._archived_at_s.items() if name in archived
        }
