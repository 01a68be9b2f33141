"""Experiments from the log of commands, for the content of events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from schemas.codec import Codec
from streams.experiments.labels import Tags
from streams.experiments.lifecycle import Experiment
from streams.experiments.transitions import apply_command
from streams.kafka.records import StoredRecord
from streams.model.events import Command, CommandKind
from streams.model.partitioning import Partition
from streams.wire.commands import decode_command

MAX_CONCLUSIONS = 10_000
"""Conclusions whose arguments are kept; events of older ones lack them."""


@dataclass(frozen=True, slots=True)
class ConclusionArguments:
    """Arguments of a command that concluded an experiment.

    Attributes:
        winner: Index of the variant that it names; None without one.
        is_automatic: Whether the conclusion is automatic.
    """

    winner: int | None
    is_automatic: bool


class ExperimentDirectory:
    """State of experiments after their commands.

    Commands are applied as in a worker: refused commands change nothing. Ticks are skipped, since
    they change no names.
    """

    def __init__(self) -> None:
        self._experiments: dict[int, Experiment] = {}
        self._applied: dict[int, dict[str, Tags]] = {}  # and the tags after each command
        self._tags: dict[int, list[tuple[int, Tags]]] = {}  # with the time of each change
        self._conclusions: dict[str, ConclusionArguments] = {}

    def take(self, partition: Partition, records: Sequence[StoredRecord], codec: Codec) -> None:
        """Apply the commands of some records of a partition of `commands`, in their order."""
        for record in records:
            with suppress(Exception):  # a worker makes a dead letter of it, or refuses it
                self._apply(decode_command(record.value, partition, codec), record.timestamp)

    def get(self, number: int) -> Experiment | None:
        """Return an experiment; None if no command is known that created it."""
        return self._experiments.get(number)

    def tags_at(self, number: int, command_id: str, recorded_at_ms: int) -> Tags:
        """Return the tags that an experiment had when something was decided about it.

        Later commands do not change the result, so an event that is read again has the same tags.

        Args:
            number: The experiment.
            command_id: The command that was decided about, after which the tags are returned; empty
                for another decision, or a command that was refused.
            recorded_at_ms: Time of the decision's record by Kafka, for these.
        """
        after = self._applied.get(number, {}).get(command_id)
        if after is not None:
            return after
        changes = self._tags.get(number)
        if changes is None:
            return ()
        earlier = (tags for at_ms, tags in reversed(changes) if at_ms <= recorded_at_ms)
        return next(earlier, changes[0][1])

    def conclusion(self, command_id: str) -> ConclusionArguments | None:
        """Return the arguments of a conclusion; None for any other command."""
        return self._conclusions.get(command_id)

    def _apply(self, command: Command, recorded_at_ms: int) -> None:
        if command.kind is CommandKind.TICK:
            return
        number = command.experiment
        if command.command_id in self._applied.get(number, ()):
            return
        after = apply_command(self._experiments.get(number), command)
        self._experiments[number] = after
        tags = after.definition.config.tags
        self._applied.setdefault(number, {})[command.command_id] = tags
        changes = self._tags.setdefault(number, [])
        if not changes or changes[-1][1] != tags:
            changes.append((recorded_at_ms, tags))
        if command.kind is CommandKind.CONCLUDE:
            self._conclusions[command.command_id] = ConclusionArguments(
                after.winner, command.payload.get("isPromotion") is True
            )
            if len(self._conclusions) > MAX_CONCLUSIONS:
                del self._conclusions[next(iter(self._conclusions))]
