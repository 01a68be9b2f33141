"""Transitions of an experiment: draft -> running <-> paused -> concluded -> archived.

A concluded experiment serves one variant to all units (`Served`), or continues assigning its winner
beside a control share (`Promotion`), and the winner may be taken back; its status stays `concluded`
until it is archived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from pydantic import Field

from streams.experiments.definition import ExperimentDefinition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import MAX_CONTROL_SHARE, Promotion, weight_of_share
from streams.experiments.roster import changed_roster, initial_roster
from streams.experiments.schedule import HoldOn, ScheduleAction, due_events
from streams.experiments.served import Serve, Served
from streams.experiments.update import ExperimentUpdate, updated
from streams.experiments.variant_changes import (
    AddedVariant,
    DraftEdit,
    VariantChange,
    check_room,
    edited,
    variant_of,
    with_change,
    with_variant,
)
from streams.model.errors import InputError, TransitionError, quoted
from streams.model.events import Command, CommandKind
from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from streams.model.receipts import MAX_KEY_ID
from streams.model.validation import InputModel, parse

_ALLOWED: dict[CommandKind, frozenset[Status]] = {
    CommandKind.START: frozenset({Status.DRAFT}),
    CommandKind.PAUSE: frozenset({Status.RUNNING}),
    CommandKind.RESUME: frozenset({Status.PAUSED}),
    CommandKind.UPDATE: frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED}),
    CommandKind.CONCLUDE: frozenset({Status.RUNNING, Status.PAUSED}),
    CommandKind.ROLLBACK: frozenset({Status.CONCLUDED}),
    CommandKind.ARCHIVE: frozenset({Status.DRAFT, Status.CONCLUDED}),
    CommandKind.TICK: frozenset({Status.RUNNING, Status.PAUSED, Status.CONCLUDED}),
    CommandKind.SCHEDULE: frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED}),
    CommandKind.EDIT: frozenset({Status.DRAFT}),
    CommandKind.ADD_VARIANT: frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED}),
    CommandKind.CHANGE_VARIANT: frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED}),
}


_STATUS_AFTER = {
    CommandKind.PAUSE: Status.PAUSED,
    CommandKind.RESUME: Status.RUNNING,
    CommandKind.ARCHIVE: Status.ARCHIVED,
}


class _Start(InputModel):
    """Payload of `start`.

    Attributes:
        receipt_key: Id of the key that signs its receipts; None for the newest key at the time.
    """

    receipt_key: int | None = Field(default=None, ge=0, le=MAX_KEY_ID)


class _Scheduled(InputModel):
    """Payload of `schedule`.

    Attributes:
        receipt_key: As in `start`, if a start is due.
        hold: Finding that holds the ramp; None without one.
    """

    receipt_key: int | None = Field(default=None, ge=0, le=MAX_KEY_ID)
    hold: HoldOn | None = Field(default=None, strict=False)


class _Conclusion(InputModel):
    """Payload of `conclude`.

    Attributes:
        winner_variant_id: Variant it is concluded with; None without one.
        control_share: Share that the control keeps beside a winner; 0 for no promotion.
        serve: What is served until it is archived; the winner unless given, or without one the
            control.
        is_promotion: Whether it is an automatic promotion.
        because: Reason, for the log of decisions; None unless the command is automatic.
    """

    winner_variant_id: Any = None
    control_share: float = Field(default=0.0, ge=0.0, le=MAX_CONTROL_SHARE)
    serve: Serve | None = Field(default=None, strict=False)
    is_promotion: bool = False
    because: dict[str, Any] | None = None


class _Rollback(InputModel):
    """Payload of `rollback`.

    Attributes:
        because: Reason, for the log of decisions; None unless the command is automatic.
    """

    because: dict[str, Any] | None = None


def apply_command(experiment: Experiment | None, command: Command) -> Experiment:
    """Return the experiment after `command`.

    Args:
        experiment: The experiment before it; None if no experiment has this number.
        command: The command.

    Raises:
        TransitionError: its status does not allow the command (`INVALID_TRANSITION`), it is created
            twice (`EXPERIMENT_EXISTS`, or `KEY_TAKEN` if it has a key), it does not exist
            (`EXPERIMENT_NOT_FOUND`), or it has changed since its author saw it
            (`VERSION_CONFLICT`).
        InputError: the payload cannot be used.
    """
    if command.kind is CommandKind.CREATE:
        return _created(experiment, command)
    if experiment is None:
        raise TransitionError(
            "EXPERIMENT_NOT_FOUND",
            f"there is no experiment {quoted(experiment_id(command.experiment))}",
            "experimentId",
        )
    _check_version(experiment, command.expected_version, "expectedVersion")
    if experiment.status not in _ALLOWED[command.kind]:
        raise TransitionError(
            "INVALID_TRANSITION",
            f"experiment {experiment.id!r} is {experiment.status}, which does not allow "
            f"{command.kind}",
            "status",
        )
    version = experiment.version + 1
    changed = experiment.changed_version if command.kind is CommandKind.TICK else version
    after = replace(experiment, version=version, changed_version=changed)
    return _with_traffic_noted(_applied(experiment, after, command))


def _check_version(experiment: Experiment, seen: int | None, path: str) -> None:
    """Refuse a command of which the author saw another experiment than there is.

    Raises:
        TransitionError: another command has changed it since (`VERSION_CONFLICT`).
    """
    if seen is None or experiment.changed_version <= seen <= experiment.version:
        return
    message = (
        f"{path} == {seen}, and experiment {experiment.id!r} has version {experiment.version}: "
        "read it again"
    )
    raise TransitionError("VERSION_CONFLICT", message, path)


def _applied(experiment: Experiment, after: Experiment, command: Command) -> Experiment:
    """Return `after`, the experiment of the next version, changed by a command."""
    match command.kind:
        case CommandKind.START:
            key = parse(_Start, command.payload).receipt_key
            return _started(after, command.issued_at_ms, key)
        case CommandKind.PAUSE | CommandKind.RESUME | CommandKind.ARCHIVE:
            return replace(after, status=_STATUS_AFTER[command.kind])
        case CommandKind.UPDATE:
            update = parse(ExperimentUpdate, command.payload)
            # A schedule that replaces another one has done nothing yet.
            history = after.history if update.schedule is None else ()
            definition = updated(experiment.definition, update)
            return replace(after, definition=definition, history=history)
        case CommandKind.CONCLUDE:
            return _concluded(after, command)
        case CommandKind.ROLLBACK:
            return _rolled_back(after, command)
        case CommandKind.TICK:
            return replace(after, clock_ms=max(experiment.clock_ms, command.issued_at_ms))
        case CommandKind.SCHEDULE:
            return _scheduled(after, command)
        case CommandKind.EDIT | CommandKind.ADD_VARIANT | CommandKind.CHANGE_VARIANT:
            return _redefined(experiment, after, command)
        case CommandKind.CREATE:
            raise AssertionError("a creation has no experiment before it")
        case _:
            assert_never(command.kind)


def _with_traffic_noted(after: Experiment) -> Experiment:
    """Return an experiment with its peak traffic share updated."""
    if after.started_at_ms is None:
        return after
    traffic = after.definition.config.traffic_allocation
    is_first = traffic < after.peak_traffic and not after.lowered_version
    return replace(
        after,
        peak_traffic=max(after.peak_traffic, traffic),
        lowered_version=after.version if is_first else after.lowered_version,
    )


def _started(after: Experiment, at_ms: int, receipt_key: int | None) -> Experiment:
    """Return a running experiment that records the key of its receipts."""
    return replace(
        after,
        definition=_with(after.definition, receipt_key=receipt_key),
        status=Status.RUNNING,
        started_at_ms=at_ms,
        started_version=after.version,
        roster=initial_roster(after.definition, after.version),
    )


def _redefined(experiment: Experiment, after: Experiment, command: Command) -> Experiment:
    """Return a draft with another definition, or an experiment with other variants.

    A started experiment keeps the variants of its start in its roster.

    Raises:
        TransitionError: a draft has changed since it was read (`VERSION_CONFLICT`).
        EngineError: there is no such variant (`VARIANT_NOT_FOUND`).
        InputError: a running experiment gets more variants than its receipts carry weights of, or
            than its cells have room for (`TOO_MANY_VARIANTS`), or as when it is created.
    """
    if command.kind is CommandKind.EDIT:
        edit = parse(DraftEdit, command.payload)
        _check_version(experiment, edit.version, "version")
        return replace(after, definition=edited(after.definition, edit), history=())
    if command.kind is CommandKind.ADD_VARIANT:
        definition = with_variant(after.definition, parse(AddedVariant, command.payload))
    else:
        change = parse(VariantChange, command.payload)
        index = variant_of(after.id, after.definition, change.variant)
        definition = with_change(after.definition, index, change)
    if after.started_at_ms is None:
        return replace(after, definition=definition)
    if len(definition.variants) > len(after.definition.variants):
        check_room(definition)
    roster = changed_roster(after.roster, after.definition, definition, after.version)
    return replace(after, definition=definition, roster=roster)


def _with(definition: ExperimentDefinition, **changes: Any) -> ExperimentDefinition:
    config = definition.config.model_copy(update=changes)
    return definition.model_copy(update={"config": config})


def _scheduled(after: Experiment, command: Command) -> Experiment:
    """Return an experiment after all due events of its schedule."""
    scheduled = parse(_Scheduled, command.payload)
    schedule = after.definition.config.schedule
    due = (
        ()
        if schedule is None
        else tuple(
            due_events(
                schedule, after.history, after.started_at_ms, command.issued_at_ms, scheduled.hold
            )
        )
    )
    if not due:
        raise TransitionError(
            "INVALID_TRANSITION", f"nothing is due of experiment {after.id!r}", "status"
        )
    for event in due:
        match event.action:
            case ScheduleAction.START:
                after = _started(after, event.at_ms, scheduled.receipt_key)
            case ScheduleAction.RAMP:
                changed = _with(after.definition, traffic_allocation=event.traffic_allocation)
                after = replace(after, definition=changed)
            case ScheduleAction.END:
                after = replace(
                    after,
                    status=Status.CONCLUDED,
                    concluded_at_ms=event.at_ms,
                    winner=None,
                    served=Served(after.definition.control_index, event.at_ms),
                )
            case ScheduleAction.HOLD:
                pass
    return replace(after, history=after.history + due)


def _created(experiment: Experiment | None, command: Command) -> Experiment:
    if experiment is not None:
        raise _exists(experiment, command)
    definition = parse(ExperimentDefinition, command.payload)
    key = definition.config.key
    if key is not None and key_number(key) != command.experiment:
        expected = experiment_id(key_number(key))
        raise InputError(
            "KEY_MISMATCH",
            f"the experiment with the key {quoted(key)} is {expected}, not "
            f"{experiment_id(command.experiment)}",
            "config.key",
        )
    holdout = definition.config.holdout
    if holdout is not None and holdout.number != command.experiment:
        message = f"the holdout {quoted(holdout.key)} is {experiment_id(holdout.number)}"
        raise InputError("KEY_MISMATCH", message, "config.holdout.key")
    created = Experiment(
        number=command.experiment,
        definition=definition,
        status=Status.DRAFT,
        version=1,
        changed_version=1,
        created_at_ms=command.issued_at_ms,
    )
    if holdout is None:
        return created
    # A holdout is never a draft: it is created with the key that signs its receipts.
    started = _started(created, command.issued_at_ms, definition.config.receipt_key)
    return _with_traffic_noted(started)


def _exists(experiment: Experiment, command: Command) -> TransitionError:
    config = command.payload.get("config")
    holdout = experiment.definition.config.holdout
    if holdout is not None:
        message = f"the holdout {quoted(holdout.key)} exists, and its key is taken for good"
        return TransitionError("KEY_TAKEN", message, "key")
    key = config.get("key") if isinstance(config, Mapping) else None
    if isinstance(key, str) and key_number(key) == experiment.number:
        return TransitionError(
            "KEY_TAKEN",
            f"the key {quoted(key)} is that of {experiment.id}, which is {experiment.status}",
            "config.key",
        )
    return TransitionError(
        "EXPERIMENT_EXISTS", f"experiment {experiment.id!r} exists", "experimentId"
    )


def _concluded(after: Experiment, command: Command) -> Experiment:
    conclusion = parse(_Conclusion, command.payload)
    winner = _winner(after, conclusion.winner_variant_id)
    _check_serve(conclusion, winner)
    control, at_ms = after.definition.control_index, command.issued_at_ms
    promotion, served = None, None
    if conclusion.serve is Serve.CONTROL or (winner is None and conclusion.serve is None):
        served = Served(control, at_ms)
    elif winner is not None and conclusion.serve is not Serve.NONE:
        if winner != control and conclusion.control_share > 0.0:
            promotion = Promotion(
                variant=winner,
                control_weight=weight_of_share(conclusion.control_share),
                is_automatic=conclusion.is_promotion,
                is_rolled_back=False,
                began_at_ms=at_ms,
                version=after.version,
            )
        else:
            served = Served(winner, at_ms)
    return replace(
        after,
        status=Status.CONCLUDED,
        concluded_at_ms=at_ms,
        winner=winner,
        promotion=promotion,
        served=served,
    )


def _check_serve(conclusion: _Conclusion, winner: int | None) -> None:
    """Refuse a `serve` that contradicts the rest of a conclusion.

    Raises:
        InputError: no winner is given to serve (`WINNER_NOT_NAMED`), or a control share is given
            with a winner that is not served (`CONTROL_SHARE_NOT_USED`).
    """
    serve = conclusion.serve
    if serve is Serve.WINNER and winner is None:
        message = "serve == 'winner', must be 'control' or 'none' without a winnerVariantId"
        raise InputError("WINNER_NOT_NAMED", message, "serve")
    if serve in {Serve.CONTROL, Serve.NONE} and conclusion.control_share > 0.0:
        message = f"controlShare == {conclusion.control_share}, must be 0 where serve == '{serve}'"
        raise InputError("CONTROL_SHARE_NOT_USED", message, "controlShare")


def _rolled_back(after: Experiment, command: Command) -> Experiment:
    parse(_Rollback, command.payload)
    promotion, served = after.promotion, after.served
    control, at_ms = after.definition.control_index, command.issued_at_ms
    if promotion is not None and not promotion.is_rolled_back:
        promotion = replace(
            promotion, is_rolled_back=True, began_at_ms=at_ms, version=after.version
        )
    elif served is not None and served.variant != control:
        served = Served(control, at_ms)
    else:
        raise TransitionError(
            "INVALID_TRANSITION",
            f"experiment {after.id!r} has no winner that is promoted or shipped, or has one no "
            "longer",
            "status",
        )
    return replace(after, winner=control, promotion=promotion, served=served)


def _winner(experiment: Experiment, winner: object) -> int | None:
    if winner is None:
        return None
    for index, variant in enumerate(experiment.definition.variants):
        if experiment.variant_id(index) == winner:
            if not variant.is_active:
                message = f"{quoted(winner)} is stopped, and would be assigned to all users"
                raise InputError("VARIANT_STOPPED", message, "winnerVariantId")
            return index
    raise InputError(
        "UNKNOWN_VARIANT",
        f"winnerVariantId == {quoted(winner)}, must be a variant of {experiment.id!r}",
        "winnerVariantId",
    )
