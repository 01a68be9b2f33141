"""Ticks: the time continues for experiments without events, so that their last units mature.

The core does not read a clock, and maturity depends on the newest event. After the traffic of an
experiment has stopped, its last units would never mature. So when there has been no event for a
while and their conversion windows are over by this worker's clock, the worker logs a command with
the time, and a replay sees the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple

import faust
from aiokafka.errors import KafkaError

from schemas.codec import Codec
from schemas.errors import SchemaNotEnabledError
from streams.experiments.lifecycle import Status
from streams.fold.experiment_state import ExperimentState
from streams.model.authors import CLOCK, Origin
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id
from streams.wire.commands import encode_command
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.outbox import Outgoing, deliver

LOOK_S = 15.0
"""Interval of looking for experiments whose units are due."""

GRACE_MS = 3_600_000
"""Wait after the end of a window: events may be late, and an event makes a tick unnecessary. So an
experiment has at most one tick per hour."""

AT_ONCE = 20
"""Maximum number of ticks at a time, so that other records are not delayed."""

_ID_BYTES = 16
_GOING_ON = frozenset({Status.RUNNING, Status.PAUSED, Status.CONCLUDED})

logger = logging.getLogger(__name__)


class DueCommands(NamedTuple):
    """A kind of commands that become due by time.

    Attributes:
        due: Returns the due command of an experiment at a time; None without one.
        interval_s: Seconds between two looks.
    """

    due: Callable[[ExperimentState, int], Command | None]
    interval_s: float


class DueCommandLogger:
    """A loop that logs the due ticks of this worker's experiments.

    Args:
        stage: State of the experiments.
        commands: The topic of commands.
        codec: Encodes them.
        follower: Knows whether this generation is active; only the active one logs ticks.
        may_command: Returns whether this worker may write commands.
        timeout_s: Longest wait for the broker, in seconds.
        now_ms: Returns milliseconds since the epoch.
        looked_for: The commands that it logs.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        commands: faust.TopicT,
        codec: Codec,
        follower: GenerationFollower,
        may_command: Callable[[], bool],
        *,
        timeout_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        looked_for: DueCommands | None = None,
    ) -> None:
        self._stage = stage
        self._commands = commands
        self._codec = codec
        self._follower = follower
        self._may_command = may_command
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._looked_for = looked_for or DueCommands(_matured, LOOK_S)
        self._logged: dict[int, str] = {}

    async def run(self) -> None:
        """Log due commands, indefinitely."""
        while True:
            await asyncio.sleep(self._looked_for.interval_s)
            if not (self._follower.is_active and self._may_command()):
                continue
            try:
                await self.look()
            except (KafkaError, TimeoutError, SchemaNotEnabledError) as error:
                logger.warning("commands that are due cannot be logged, trying again: %r", error)

    async def look(self) -> None:
        """Log the ticks that are due now."""
        due = list(self._due())
        self._logged = {
            known.number: self._logged[known.number]
            for _, known in self._stage.all_known()
            if known.number in self._logged
        }
        for tick in due[:AT_ONCE]:
            key = experiment_id(tick.experiment).encode()
            record = Outgoing(key, encode_command(tick, self._codec))
            await deliver(self._commands, [record], self._timeout_s)
            self._logged[tick.experiment] = tick.command_id

    def _due(self) -> Iterator[Command]:
        now_ms = self._now_ms()
        for _, known in self._stage.all_known():
            tick = self._looked_for.due(known, now_ms)
            if tick is not None and self._logged.get(known.number) != tick.command_id:
                yield tick


def _matured(known: ExperimentState, now_ms: int) -> Command | None:
    return due_tick(known, now_ms - GRACE_MS)


def due_tick(known: ExperimentState, before_ms: int) -> Command | None:
    """Return the tick that makes all units of an experiment mature; None if none is due.

    Its id follows from the experiment and its time, so sending it twice is harmless.

    Args:
        known: The experiment.
        before_ms: Time by which their windows must be over.
    """
    if known.experiment is None or known.experiment.status not in _GOING_ON:
        return None
    at_ms = known.matures_at_ms()
    if at_ms is None or at_ms > before_ms:
        return None
    seed = f"tick/{experiment_id(known.number)}/{at_ms}".encode()
    return Command(
        command_id=blake2b(seed, digest_size=_ID_BYTES).hexdigest(),
        experiment=known.number,
        kind=CommandKind.TICK,
        issued_at_ms=at_ms,
        origin=Origin(CLOCK),
    )
