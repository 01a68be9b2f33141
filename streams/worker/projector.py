"""Writing of snapshots, answers and heartbeats to Redis. An outage of Redis never stops folding."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from streams.model.errors import DependencyError
from streams.model.events import Answer
from streams.projection.writer import HistoryRecord, ProjectionWriter, SnapshotRecord
from streams.worker import metrics
from streams.worker.pacing import follow
from streams.worker.pending import Pending

HEARTBEAT_INTERVAL_S = 1.0
"""Interval of heartbeats, and of checks that Redis still holds the snapshots."""

STEPS_AT_MOST = 0.95
"""Share of the time for writes, nearly all of which is waiting for Redis and for the event loop."""

HEARTBEAT_TTL_S = 5
"""Time without a heartbeat after which a worker counts as gone."""

logger = logging.getLogger(__name__)


class Projector:
    """The newest snapshot of every experiment, and the data that is not in Redis yet.

    Args:
        writer: As the attribute.
        worker_id: Name of this worker.
        lacking: Returns the rights that this worker does not have.

    Attributes:
        writer: Writes to Redis.
        on_lost: Called when Redis has lost its data.
        is_known: Set after the first heartbeat. Earlier writes could be lost unnoticed.
    """

    def __init__(
        self,
        writer: ProjectionWriter,
        worker_id: str,
        lacking: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._lacking = lacking
        self.writer = writer
        self._worker_id = worker_id
        self._newest: dict[str, SnapshotRecord] = {}
        self._unwritten: Pending[str, SnapshotRecord] = Pending()
        self._removed: Pending[str, None] = Pending()
        self._conclusions: dict[str, bytes] = {}
        self._unwritten_conclusions: Pending[str, bytes] = Pending()
        self._histories: dict[str, HistoryRecord] = {}
        self._unwritten_histories: Pending[str, HistoryRecord] = Pending()
        self._answers: list[Answer] = []
        self._identity: str | None = None
        self.on_lost: Callable[[], None] = _nothing
        self.is_known = asyncio.Event()
        self._changed = asyncio.Event()

    def offer(self, record: SnapshotRecord) -> None:
        """Queue a snapshot; it replaces an older one of its experiment."""
        self._newest[record.experiment_id] = self._unwritten[record.experiment_id] = record
        self._changed.set()

    def offer_conclusion(self, experiment_id: str, payload: bytes) -> None:
        """Queue the logged snapshot as of a conclusion."""
        self._conclusions[experiment_id] = self._unwritten_conclusions[experiment_id] = payload
        self._changed.set()

    def is_newer_history(self, experiment_id: str, version: tuple[int, int]) -> bool:
        """Return whether a history of this version was not offered yet."""
        known = self._histories.get(experiment_id)
        return known is None or known.version != version

    def offer_history(self, record: HistoryRecord) -> None:
        """Queue a history; it replaces an older one of its experiment."""
        self._histories[record.experiment_id] = record
        self._unwritten_histories[record.experiment_id] = record
        self._changed.set()

    def answer(self, answers: Iterable[Answer]) -> None:
        """Queue answers; they are written after the snapshots offered before."""
        self._answers += answers
        self._changed.set()

    def forget(self, experiment_ids: Iterable[str]) -> None:
        """Drop experiments that another worker owns now."""
        for name in experiment_ids:
            for held in (
                self._newest,
                self._unwritten,
                self._conclusions,
                self._unwritten_conclusions,
                self._histories,
                self._unwritten_histories,
            ):
                held.pop(name, None)

    def remove(self, experiment_ids: Iterable[str]) -> None:
        """Queue the removal of the snapshots of ended experiments."""
        names = list(experiment_ids)
        self.forget(names)
        self._removed.update(dict.fromkeys(names))
        self._changed.set()

    async def run(self) -> None:
        """Write queued data, from the first heartbeat on."""
        await self.is_known.wait()
        await follow(self._changed, self._write, at_most=STEPS_AT_MOST)

    async def send_heartbeats(self) -> None:
        """Send heartbeats indefinitely; write everything again after Redis has lost its data."""
        while True:
            try:
                identity = await self.writer.heartbeat(
                    self._worker_id,
                    HEARTBEAT_TTL_S,
                    metrics.dead_letters(),
                    misplaced=metrics.misplaced(),
                    lacking=self._lacking(),
                )
            except DependencyError as error:
                metrics.PROJECTION_FAILURES.inc()
                logger.warning("%s", error)
            else:
                if self._identity not in {None, identity}:
                    logger.warning("Redis is another or was emptied: writing all again")
                    # As new objects: a write under way may be the last into the former Redis.
                    self._unwritten = Pending(self._newest)
                    self._unwritten_conclusions = Pending(self._conclusions)
                    self._unwritten_histories = Pending(self._histories)
                    self._changed.set()
                    self.on_lost()
                self._identity = identity
                self.is_known.set()
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    async def sign_off(self) -> None:
        """Remove the heartbeat of this worker."""
        try:
            await self.writer.sign_off(self._worker_id)
        except DependencyError as error:
            logger.info("%s", error)

    async def _write(self) -> None:
        records, conclusions = self._unwritten, self._unwritten_conclusions
        histories, removed = self._unwritten_histories, self._removed
        answers, self._answers = self._answers, []
        n_records = 0
        try:
            if snapshots := dict(records):
                await self.writer.write_snapshots(list(snapshots.values()))
                records.confirm(snapshots)
                n_records = len(snapshots)
            if reports := dict(conclusions):
                await self.writer.write_conclusions(reports)
                conclusions.confirm(reports)
            if newest := dict(histories):
                await self.writer.write_histories(list(newest.values()))
                histories.confirm(newest)
            if answers:
                await self.writer.write_answers(answers)
            if ended := dict(removed):
                await self.writer.remove(list(ended))
                removed.confirm(ended)
        except BaseException:
            metrics.PROJECTION_FAILURES.inc()
            self._answers = answers + self._answers
            raise
        else:
            metrics.PROJECTIONS.inc(n_records + len(answers))
            metrics.LAST_PROJECTION.set_to_current_time()
        finally:
            metrics.PROJECTIONS_PENDING.set(len(self._unwritten) + len(self._answers))


def _nothing() -> None:
    """Do nothing."""
