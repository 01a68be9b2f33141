"""Outlets of a worker: what it writes to the log because of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import faust

from schemas.codec import Codec
from streams.model.events import Command, Decision
from streams.model.ids import experiment_id
from streams.wire.commands import encode_command
from streams.wire.decisions import encode_decision
from streams.worker.outbox import Outgoing, deliver


@dataclass(frozen=True, slots=True)
class Outlets:
    """Topics that are written because of evaluations.

    What is sent is in the log once a method returns. Each raises what `deliver` raises.

    Attributes:
        posteriors, decisions, commands: The topics.
        codec: Encodes records.
        timeout_s: Longest wait for the broker, in seconds.
        may_command: Returns whether the worker has the right to write commands.
    """

    posteriors: faust.TopicT
    decisions: faust.TopicT
    commands: faust.TopicT
    codec: Codec
    timeout_s: float
    may_command: Callable[[], bool] = lambda: True

    async def send_snapshots(self, records: Iterable[Outgoing]) -> None:
        """Send snapshots, framed for their topic."""
        await deliver(self.posteriors, records, self.timeout_s)

    async def send_decision(self, decision: Decision) -> None:
        """Send a decision."""
        key, value = _key(decision.experiment), encode_decision(decision, self.codec)
        await deliver(self.decisions, [Outgoing(key, value)], self.timeout_s)

    async def send_command(self, command: Command) -> None:
        """Send a command."""
        key, value = _key(command.experiment), encode_command(command, self.codec)
        await deliver(self.commands, [Outgoing(key, value)], self.timeout_s)


def _key(experiment: int) -> bytes:
    return experiment_id(experiment).encode()
