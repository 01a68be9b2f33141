"""Take-over of a generation or a partition: what was logged before is read first."""

from __future__ import annotations

import asyncio
import logging

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.model.ids import experiment_id
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import LOOK_S, GenerationFollower
from streams.worker.logged_decisions import LoggedDecisions
from streams.worker.projector import Projector

READS_S = (0.0, 2.0, 12.0)
"""Times after a take-over at which the logged actions are read: by a generation that becomes active
or a worker that gets a partition. The previous owner may log actions until it notices."""

RETRY_S = 2.0
"""Pause after the log could not be read."""

logger = logging.getLogger(__name__)


class TakeOver:
    """Reads the recommended actions and conclusions that were logged, after every take-over.

    When its generation becomes active, since others decided in between on other states, and when it
    gets a partition, since the previous worker may have logged an action and crashed before noting
    it. The log is kept forever, and a worker that starts reads all of it; snapshots do not wait for
    that.

    Args:
        stage: State of the experiments.
        projector: Writes conclusions to Redis.
        follower: Knows whether this generation is active.
        logged: What was logged before, by any worker.

    Attributes:
        is_note_due: Whether something was read that `take_note` has not noted yet.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        projector: Projector,
        follower: GenerationFollower,
        logged: LoggedDecisions,
    ) -> None:
        self._stage = stage
        self._projector = projector
        self._follower = follower
        self._logged = logged
        self._read_at = -1, -1
        self.is_note_due = False

    async def run(self) -> None:
        """Have what was logged read and noted after every take-over, indefinitely."""
        clock = asyncio.get_running_loop().time
        taken_over, began_s = (0, 0), clock()
        waits: list[float] = []
        while True:
            if self._follower.is_active and taken_over != self._now:
                taken_over, began_s = self._now, clock()
                waits = list(READS_S)
            if waits and clock() - began_s >= waits[0]:
                try:
                    await self.read_ahead()
                except (LogError, DependencyError) as error:
                    logger.warning("what was decided before cannot be read: %s", error)
                    await asyncio.sleep(RETRY_S)
                else:
                    del waits[0]
            await asyncio.sleep(LOOK_S)

    async def read_ahead(self) -> None:
        """Read what was logged, while evaluations continue, and have the next step note it.

        What conclusions are logged is projected. What this worker has logged itself is read again:
        the first record of an experiment counts.
        """
        await self._logged.read()
        own = [known.number for _, known in self._stage.all_known() if not known.is_ended]
        for number, payload in (await self._logged.conclusions(own)).items():
            self._projector.offer_conclusion(experiment_id(number), payload)
        self.is_note_due = True
        self._stage.touch_all()

    async def take_note(self) -> None:
        """Replace the noted actions by those logged last; most of the log was read before."""
        taken_over = self._now
        await self._logged.read()
        self._read_at = taken_over
        for partition, known in self._stage.all_known():
            known.logged = self._logged.actions(known.number)
            if known.logged.action is not known.action:
                self._stage.note_action(partition, known, known.logged.action)
        self.is_note_due = False

    @property
    def is_informed(self) -> bool:
        """Whether the logged decisions were read since the last take-over."""
        return self._read_at == self._now

    @property
    def _now(self) -> tuple[int, int]:
        return self._follower.generations.epoch, self._stage.restorations
