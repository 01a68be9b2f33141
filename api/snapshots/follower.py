"""The follower of snapshots: keeps the experiments in memory up with what Redis announces.

Without Redis the experiments stay as they are, and their age is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from api.snapshots.cache import ExperimentCache
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.model.errors import DependencyError
from streams.process.background import BackgroundTasks
from streams.process.cadence import Cadence, until_due
from streams.projection.reader import ProjectedSnapshots

FETCH_INTERVAL_S = 0.05
"""Shortest time between two fetches of one experiment: a busy one is announced tens of times a
second, and every fetch takes time from the requests. One that was not fetched for that long is
fetched as soon as it is announced."""

REST_S = 0.01
"""Pause after a fetch: experiments that are announced meanwhile are fetched together."""

LOOK_S = 0.02
"""Interval of polling for the result of a command."""

RECONNECT_S = 0.5

SWITCH_PATIENCE_S = 30.0
"""Time for which a snapshot of the former active generation is kept for one of its version or a
newer one of the new generation. That follows the old one at a distance of a second or two, and no
experiment should seem to go back to what it was before."""

_log = logging.getLogger(__name__)


class SnapshotSource(Protocol):
    """Source of snapshots: `ProjectionReader`, or its twin in memory."""

    async def snapshots(self, experiment_ids: Sequence[str]) -> ProjectedSnapshots:
        """Return the newest snapshots of those experiments that have one."""

    async def newer(self, known: Mapping[str, int]) -> ProjectedSnapshots:
        """Return all snapshots whose version is not the known one."""

    def announcements(self) -> AsyncIterator[tuple[str, int] | None]:
        """Yield (experiment id, version) as snapshots are written, and None in silence."""


class SnapshotFollower:
    """Keeps an `ExperimentCache` up with Redis.

    Attributes:
        experiments: The cache.

    Args:
        source: Source of snapshots.
        experiments: The cache.
        sweep_s: Seconds between two readings of everything, for lost announcements.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        source: SnapshotSource,
        experiments: ExperimentCache,
        sweep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self.experiments = experiments
        self._sweep_s = sweep_s
        self._clock = clock
        self._heard_at_s = 0.0
        self._announced: dict[str, int] = {}
        self._has_announced = asyncio.Event()
        self._cadence: Cadence[str] = Cadence(FETCH_INTERVAL_S)
        self._epoch = 0
        self._of_former_generation: set[str] = set()
        self._patient_until_s = 0.0
        self._has_switched = asyncio.Event()

    @property
    def age_s(self) -> float | None:
        """Seconds since Redis last answered; None before everything was read a first time."""
        return self._clock() - self._heard_at_s if self.experiments.is_complete else None

    async def sweep(self) -> None:
        """Read everything that is new.

        Raises:
            DependencyError: Redis does not answer.
        """
        known = {
            name: snapshot.version
            for name, snapshot in self.experiments.snapshots().items()
            if name not in self._of_former_generation and snapshot.failure is None
        }
        projected = await self._source.newer(known)
        is_of_known = projected.epoch == self._epoch
        self._take(projected)
        self.experiments.is_complete = True
        if is_of_known and projected.names is not None:
            self._drop_ended(projected.names)
        if is_of_known and self._of_former_generation and self._clock() > self._patient_until_s:
            self._give_up_former_generation(projected)

    def _drop_ended(self, names: Collection[str]) -> None:
        """Drop archived experiments that Redis does not have any more: they have ended.

        Others are kept, as Redis may have been emptied.
        """
        ended = [
            name
            for name, snapshot in self.experiments.snapshots().items()
            if name not in names and snapshot.experiment.status is Status.ARCHIVED
        ]
        for name in ended:
            self.experiments.drop(name)
            self.experiments.unreadable.pop(name, None)
            self._of_former_generation.discard(name)

    async def at_version(self, experiment_id: str, version: int, timeout_s: float) -> Snapshot:
        """Return an experiment once `version` commands have been applied to it.

        Raises:
            DependencyError: no such version appears within `timeout_s` seconds, or Redis does not
                answer.
        """
        deadline = self._clock() + timeout_s
        while True:
            known = self.experiments.snapshots().get(experiment_id)
            if known is not None and known.experiment.version >= version:
                return known
            if self._clock() > deadline:
                raise DependencyError(
                    "worker",
                    "the command took effect, and its result is not to be seen yet",
                    code="COMMAND_TIMED_OUT",
                )
            self._take(await self._source.snapshots([experiment_id]))
            if self.experiments.snapshots().get(experiment_id) is known:
                await asyncio.sleep(LOOK_S)

    def follow(self, background: BackgroundTasks) -> None:
        """Keep up with Redis, by tasks of `background`."""
        background.start("snapshots.sweep", self._sweep_for_ever)
        background.start("snapshots.listen", self._listen_for_ever)
        background.start("snapshots.fetch", self._fetch_announced)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except DependencyError as error:
                _log.warning("%s; going on with what is in memory", error)
                await asyncio.sleep(RECONNECT_S)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep_s):
                        await self._has_switched.wait()
                self._has_switched.clear()

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                async with aclosing(self._source.announcements()) as announcements:  # type: ignore[type-var]
                    async for announced in announcements:
                        self._heard_at_s = self._clock()
                        if announced is not None:
                            name, version = announced
                            self._announced[name] = version
                            self._has_announced.set()
            except DependencyError:  # the sweep logs it, and reads what is missed meanwhile
                await asyncio.sleep(RECONNECT_S)

    async def _fetch_announced(self) -> None:
        while True:
            await until_due(self._has_announced, self._wait_s)
            due = self._cadence.due(self._announced)
            announced = {name: self._announced.pop(name) for name in due}
            known = self.experiments.snapshots()
            wanted = [
                name
                for name, version in announced.items()
                if name not in known
                or known[name].version != version
                or known[name].failure is not None
            ]
            for name in wanted:
                self._cadence.handled(name)
            with contextlib.suppress(DependencyError):  # the sweep will find them
                self._take(await self._source.snapshots(wanted))
            await asyncio.sleep(REST_S)

    def _wait_s(self) -> float | None:
        return self._cadence.wait_s(self._announced)

    def _take(self, projected: ProjectedSnapshots) -> None:
        self._heard_at_s = self._clock()
        if projected.epoch < self._epoch:
            return  # read before a switch that has been seen since
        if projected.epoch > self._epoch:
            _log.info("another generation is active: reading everything afresh")
            self._epoch = projected.epoch
            self._of_former_generation = set(self.experiments.snapshots())
            self._patient_until_s = self._clock() + SWITCH_PATIENCE_S
            self._has_switched.set()
        for name, reason in projected.unreadable.items():
            self.experiments.keep_last_good(name, reason)
        for snapshot in projected.snapshots:
            name = snapshot.experiment.id
            try:
                is_taken = self.experiments.put(
                    snapshot, replaces_same_version=name in self._of_former_generation
                )
            except Exception as error:  # noqa: BLE001 - of one experiment, which keeps its last one
                self.experiments.keep_last_good(name, f"{type(error).__name__}: {error}")
            else:
                if is_taken:
                    self._of_former_generation.discard(name)
                self.experiments.unreadable.pop(name, None)

    def _give_up_former_generation(self, projected: ProjectedSnapshots) -> None:
        """Replace what is left of the former generation by the new one, or drop it."""
        n_left = len(self._of_former_generation)
        _log.warning("the new generation lacks %d experiments of the former one", n_left)
        for name in self._of_former_generation:
            self.experiments.drop(name)
        self._of_former_generation.clear()
        self._take(projected)
