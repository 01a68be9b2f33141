"""History of an experiment, newest first: who did what, when and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from api.http.models.history import HistoryChange
from dashboard.views.isolation import isolated
from dashboard.views.text import percent
from dashboard.views.undo import UndoView, undo_view
from experiment_streams_client import Experiment, HistoryItem
from streams.experiments.statistics.recommendation import ReasonCode

_RECOMMENDATION = "recommendation"

_WHAT = {
    "create": "Created",
    "edit": "Edited",
    "start": "Started",
    "pause": "Paused",
    "resume": "Resumed",
    "update": "Changed",
    "schedule": "Carried out",
    "add_variant": "Variant added",
    "change_variant": "Variant changed",
    "conclude": "Concluded",
    "rollback": "Rolled back",
    "archive": "Archived",
    _RECOMMENDATION: "Recommendation",
}

_WHO = {
    "open": "",
    "schedule": "its schedule",
    "promotion": "automatic promotion",
    "evaluation": "",
}

_PATHS = {
    "recommendedAction": "action",
    "recommendedVariantId": "variant",
    "winnerVariantId": "winner",
    "served.variantId": "all users get",
    "promotion.controlShare": "control keeps",
    "promotion.isRolledBack": "rolled back",
}

_VALUES = {
    "continue": "keep it running",
    "conclude_winner": "ship the winner",
    "conclude_no_difference": "stop, no difference",
    "stop_guardrail": "stop a harmful variant",
    "investigate": "do not use the results",
}

_ENDED = frozenset(
    {
        ReasonCode.PROMOTED,
        ReasonCode.ROLLED_BACK,
        ReasonCode.CONCLUDED,
        ReasonCode.CONCLUDED_WITHOUT_WINNER,
        ReasonCode.ARCHIVED_UNSTARTED,
    }
)
"""Reasons of recommendations after the end, when "keep it running" would be wrong."""

_SHARES = frozenset({"promotion.controlShare"})
"""Paths that are shown in words, and whose values are shares."""

_MAX_VALUE = 80


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An entry of the history, as a page shows it.

    Attributes:
        at_ms: When, in milliseconds since the epoch.
        what: What.
        who: Who did it; empty where that is not known.
        why: Reason of the author, or of the engine.
        changes: Values that changed, in words.
        is_command: Whether it is a command, and no recommendation.
        is_refused: Whether it was refused, and changed nothing.
        undo: How it is undone; None if it cannot be.
    """

    at_ms: int
    what: str
    who: str = ""
    why: str = ""
    changes: tuple[str, ...] = ()
    is_command: bool = True
    is_refused: bool = False
    undo: UndoView | None = None


def history(items: Iterable[HistoryItem], experiment: Experiment) -> list[HistoryRow]:
    """Return what happened, in the order of the answer."""
    names = {each.id: each.name for each in experiment.variants}
    return [_happening(item, names) for item in items]


def history_since(
    items: Iterable[HistoryItem], experiment: Experiment, version: int
) -> list[HistoryRow]:
    """Return the commands that took effect after a version of an experiment."""
    newer = [
        item
        for item in items
        if item.accepted and item.kind != _RECOMMENDATION and item.version > version
    ]
    return history(newer, experiment)


def _happening(item: HistoryItem, names: Mapping[str, str]) -> HistoryRow:
    if item.reason_code in _ENDED:
        names = {**names, "continue": "nothing to do"}
    what = _WHAT.get(item.kind, item.kind.replace("_", " ").capitalize())
    code = item.reason_code.replace("_", " ").lower()
    changes = () if item.kind == "create" else item.changes
    refusal = "" if item.accepted else f" (refused: {item.code.replace('_', ' ').lower()})"
    return HistoryRow(
        item.at,
        f"{what}{refusal}",
        isolated(author(item.author)),
        isolated(item.reason) or code,
        change_texts(changes, item.omitted_changes, names),
        is_command=item.kind != _RECOMMENDATION,
        is_refused=not item.accepted,
        undo=undo_view(item),
    )


def change_texts(
    changes: Iterable[HistoryChange], n_omitted: int, names: Mapping[str, str]
) -> tuple[str, ...]:
    """Return values that change, in words.

    Args:
        changes: The values.
        n_omitted: Number of further ones.
        names: Names of the variants, by id.
    """
    words = {**_VALUES, **names}
    texts = [
        f"{_PATHS.get(each.path, each.path.removeprefix('config.'))}: "
        + (
            "not kept"
            if each.is_omitted
            else " → ".join(_short(each.path, value, words) for value in (each.before, each.after))
        )
        for each in changes
    ]
    return (*texts, f"and {n_omitted} more") if n_omitted else tuple(texts)


def author(text: str) -> str:
    """Return who gave a command.

    >>> author("key:ana"), author("key:team/bo"), author("schedule"), author("open")
    ('ana', 'bo (team)', 'its schedule', '')
    """
    given, _, declared = text.partition("/")
    name = given.removeprefix("key:") if given.startswith("key:") else _WHO.get(given, given)
    if declared:
        return f"{declared} ({name})" if name else declared
    return name


def _short(path: str, value: Any, words: Mapping[str, str]) -> str:
    if value is None:
        return "none"
    if path in _SHARES and isinstance(value, float | int):
        return percent(value)
    text = (
        words.get(value, value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
    return isolated(text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…")
