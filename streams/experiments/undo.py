"""Commands that undo an entry of a history."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from streams.experiments.history import Change, HistoryEntry
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.update import ExperimentUpdate
from streams.model.events import CommandKind

_CONFIG = "config."
_PARAMETERS = "parameters."
_VARIANT = re.compile(r"variants\[([0-9]+)\]\.(\w+)")


class UndoCode(StrEnum):
    """Whether and how an entry of a history can be undone."""

    COMPLETE = "COMPLETE"
    """The command restores the former state."""
    PARTIAL = "PARTIAL"
    """The command ends the effect; changes made in the meantime stay."""
    NOTHING_TO_UNDO = "NOTHING_TO_UNDO"
    """The entry was refused, is not a command, or has changed nothing."""
    CHANGED_SINCE = "CHANGED_SINCE"
    """A later command has changed the same again."""
    FINAL = "FINAL"
    """It cannot be undone."""
    VALUES_NOT_KEPT = "VALUES_NOT_KEPT"
    """The former values are not in the history."""


@dataclass(frozen=True, slots=True)
class Undo:
    """The command that undoes an entry.

    Attributes:
        code: Whether and how.
        method, path: HTTP method and path relative to the address of the API; empty without a
            command.
        body: Its JSON body.
    """

    code: UndoCode
    method: Literal["", "POST", "PATCH"] = ""
    path: str = ""
    body: dict[str, Any] = field(default_factory=dict)


def undo_of(entry: HistoryEntry, now: Experiment) -> Undo:
    """Return the command that undoes an entry.

    Args:
        entry: The entry.
        now: The experiment as it is now.
    """
    is_command = entry.kind in {kind.value for kind in CommandKind}
    is_creation = entry.kind == CommandKind.CREATE
    if entry.code or not is_command or not (entry.changes or is_creation):
        return Undo(UndoCode.NOTHING_TO_UNDO)
    if now.definition.config.holdout is not None:
        return Undo(UndoCode.FINAL)
    return _UNDONE.get(CommandKind(entry.kind), _never)(entry, now)


def _never(_entry: HistoryEntry, _now: Experiment) -> Undo:
    return Undo(UndoCode.FINAL)


def _by(status: Status, verb: str) -> Callable[[HistoryEntry, Experiment], Undo]:
    """Return the undo of a status command, while the status is unchanged."""

    def undo(_entry: HistoryEntry, now: Experiment) -> Undo:
        if now.status is not status:
            return Undo(UndoCode.CHANGED_SINCE)
        return Undo(UndoCode.PARTIAL, "POST", f"/experiments/{now.id}/{verb}")

    return undo


def _rollback(_entry: HistoryEntry, now: Experiment) -> Undo:
    """Return the roll-back of a winner that is promoted or shipped; the conclusion stays."""
    control = now.definition.control_index
    is_promoted = now.promotion is not None and not now.promotion.is_rolled_back
    is_shipped = now.shipped is not None and now.shipped.variant != control
    if now.status is Status.CONCLUDED and (is_promoted or is_shipped):
        return Undo(UndoCode.PARTIAL, "POST", f"/experiments/{now.id}/rollback")
    return Undo(UndoCode.FINAL)


def _scheduled(entry: HistoryEntry, now: Experiment) -> Undo:
    status = next((each.after for each in entry.changes if each.path == "status"), None)
    if status == Status.CONCLUDED:
        return Undo(UndoCode.FINAL)
    if status == Status.RUNNING:
        return _by(Status.RUNNING, "pause")(entry, now)
    ramp = [each for each in entry.changes if each.path.startswith(_CONFIG)]
    return _update(entry, now) if ramp else Undo(UndoCode.NOTHING_TO_UNDO)


def _update(entry: HistoryEntry, now: Experiment) -> Undo:
    """Return the update that restores the values of a configuration."""
    if now.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return Undo(UndoCode.CHANGED_SINCE)
    current = now.definition.config.model_dump(by_alias=True, mode="json")
    own = [each for each in entry.changes if each.path.startswith(_CONFIG)]
    body: dict[str, Any] = {}
    for each in own:
        if each.is_omitted or each.before is None or entry.n_omitted:
            return Undo(UndoCode.VALUES_NOT_KEPT)
        name = each.path.removeprefix(_CONFIG)
        within, place = current, body
        if name.startswith(_PARAMETERS):
            name = name.removeprefix(_PARAMETERS)
            within, place = current["parameters"], body.setdefault("parameters", {})
        if within.get(name) != each.after:
            return Undo(UndoCode.CHANGED_SINCE)
        place[name] = each.before
    if not body:
        return Undo(UndoCode.NOTHING_TO_UNDO)
    known = {field.alias for field in ExperimentUpdate.model_fields.values()}
    if not body.keys() <= known:
        return Undo(UndoCode.FINAL)
    return Undo(UndoCode.COMPLETE, "PATCH", f"/experiments/{now.id}", body)


def _variant(entry: HistoryEntry, now: Experiment) -> Undo:
    """Return the change of a variant that restores it, or stops one that was added."""
    if now.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return Undo(UndoCode.CHANGED_SINCE)
    found: dict[int, dict[str, Change]] = {}
    for each in entry.changes:
        if (matched := _VARIANT.fullmatch(each.path)) is not None:
            found.setdefault(int(matched[1]), {})[matched[2]] = each
    is_added = entry.kind == CommandKind.ADD_VARIANT
    if not found or entry.n_omitted or max(found) >= len(now.definition.variants):
        return Undo(UndoCode.VALUES_NOT_KEPT if entry.n_omitted else UndoCode.CHANGED_SINCE)
    index = max(found)  # an added variant comes last, and may change the weights of the others
    variant = now.definition.variants[index]
    path = f"/experiments/{now.id}/variants/{now.variant_id(index)}"
    if is_added:
        if not variant.is_active:
            return Undo(UndoCode.CHANGED_SINCE)
        return Undo(UndoCode.PARTIAL, "PATCH", path, {"isActive": False})
    values = variant.model_dump(by_alias=True, mode="json")
    if any(each.is_omitted for each in found[index].values()):
        return Undo(UndoCode.VALUES_NOT_KEPT)
    if any(values.get(name) != each.after for name, each in found[index].items()):
        return Undo(UndoCode.CHANGED_SINCE)
    body = {name: each.before for name, each in found[index].items()}
    code = UndoCode.PARTIAL if "isActive" in body else UndoCode.COMPLETE
    return Undo(code, "PATCH", path, body)


_UNDONE = {
    CommandKind.CREATE: _by(Status.DRAFT, "archive"),
    CommandKind.START: _by(Status.RUNNING, "pause"),
    CommandKind.RESUME: _by(Status.RUNNING, "pause"),
    CommandKind.PAUSE: _by(Status.PAUSED, "resume"),
    CommandKind.CONCLUDE: _rollback,
    CommandKind.SCHEDULE: _scheduled,
    CommandKind.UPDATE: _update,
    CommandKind.ADD_VARIANT: _variant,
    CommandKind.CHANGE_VARIANT: _variant,
}
