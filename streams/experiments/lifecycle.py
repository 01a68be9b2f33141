"""What commands do to an experiment: draft -> running <-> paused -> concluded -> archived."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from streams.domain.errors import InputError, TransitionError
from streams.domain.events import Command, CommandKind
from streams.domain.ids import experiment_id, variant_id
from streams.domain.validation import parse
from streams.experiments.definition import ExperimentDefinition, ExperimentUpdate, updated


class Status(StrEnum):
    """Where an experiment is in its life."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    CONCLUDED = "concluded"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as the commands have left it.

    Attributes:
        number: The experiment as a 64-bit integer.
        definition: Configuration and variants.
        status: Where it is in its life.
        version: Number of commands applied, >= 1.
        created_at_ms: Time of `create`.
        started_at_ms: Time of `start`; None before.
        started_version: `version` right after `start`; 0 before. Fixed allocations carry it.
        planned_units: `min_sample_size` at the `start`; 0 before. It is a plan because it was
            fixed before the first unit came; what is changed later asks for units, and plans none.
        concluded_at_ms: Time of `conclude`; None before.
        winner: Index of the variant it was concluded with; None for none.
    """

    number: int
    definition: ExperimentDefinition
    status: Status
    version: int
    created_at_ms: int
    started_at_ms: int | None = None
    started_version: int = 0
    planned_units: int = 0
    concluded_at_ms: int | None = None
    winner: int | None = None

    @property
    def id(self) -> str:
        """The experiment's id."""
        return experiment_id(self.number)

    def variant_id(self, index: int) -> str:
        """Return the id of the variant at `index`."""
        return variant_id(self.id, index)


_ALLOWED: dict[CommandKind, frozenset[Status]] = {
    CommandKind.START: frozenset({Status.DRAFT}),
    CommandKind.PAUSE: frozenset({Status.RUNNING}),
    CommandKind.RESUME: frozenset({Status.PAUSED}),
    CommandKind.UPDATE: frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED}),
    CommandKind.CONCLUDE: frozenset({Status.RUNNING, Status.PAUSED}),
    CommandKind.ARCHIVE: frozenset({Status.DRAFT, Status.CONCLUDED}),
}


def apply_command(experiment: Experiment | None, command: Command) -> Experiment:
    """Return the experiment after `command`.

    Args:
        experiment: The experiment before it; None if there is none with this number.
        command: What to do.

    Raises:
        TransitionError: its status does not allow the command (`INVALID_TRANSITION`), it is created
            twice (`EXPERIMENT_EXISTS`), or there is none (`EXPERIMENT_NOT_FOUND`).
        InputError: the payload cannot be used.
    """
    if command.kind is CommandKind.CREATE:
        return _created(experiment, command)
    if experiment is None:
        raise TransitionError(
            "EXPERIMENT_NOT_FOUND",
            f"there is no experiment {experiment_id(command.experiment)!r}",
            "experimentId",
        )
    if experiment.status not in _ALLOWED[command.kind]:
        raise TransitionError(
            "INVALID_TRANSITION",
            f"experiment {experiment.id!r} is {experiment.status}, which does not allow "
            f"{command.kind}",
            "status",
        )
    after = replace(experiment, version=experiment.version + 1)
    match command.kind:
        case CommandKind.START:
            return replace(
                after,
                status=Status.RUNNING,
                started_at_ms=command.issued_at_ms,
                started_version=after.version,
                planned_units=experiment.definition.config.min_sample_size,
            )
        case CommandKind.PAUSE:
            return replace(after, status=Status.PAUSED)
        case CommandKind.RESUME:
            return replace(after, status=Status.RUNNING)
        case CommandKind.UPDATE:
            update = parse(ExperimentUpdate, command.payload)
            return replace(after, definition=updated(experiment.definition, update))
        case CommandKind.CONCLUDE:
            return replace(
                after,
                status=Status.CONCLUDED,
                concluded_at_ms=command.issued_at_ms,
                winner=_winner(experiment, command),
            )
        case CommandKind.ARCHIVE:
            return replace(after, status=Status.ARCHIVED)
        case _:
            assert_never(command.kind)


def _created(experiment: Experiment | None, command: Command) -> Experiment:
    if experiment is not None:
        raise TransitionError(
            "EXPERIMENT_EXISTS", f"experiment {experiment.id!r} exists", "experimentId"
        )
    return Experiment(
        number=command.experiment,
        definition=parse(ExperimentDefinition, command.payload),
        status=Status.DRAFT,
        version=1,
        created_at_ms=command.issued_at_ms,
    )


def _winner(experiment: Experiment, command: Command) -> int | None:
    unknown = command.payload.keys() - {"winnerVariantId"}
    if unknown:
        raise InputError("UNKNOWN_FIELD", "no such field", min(unknown))
    winner = command.payload.get("winnerVariantId")
    if winner is None:
        return None
    for index in range(len(experiment.definition.variants)):
        if experiment.variant_id(index) == winner:
            return index
    raise InputError(
        "UNKNOWN_VARIANT",
        f"winnerVariantId == {winner!r}, must be a variant of {experiment.id!r}",
        "winnerVariantId",
    )
