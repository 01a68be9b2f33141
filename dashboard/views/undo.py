"""Ways back: the page that takes an entry of a history back, and what restoring values does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from api.http.models.dry_run import DryRunEffect
from dashboard.views.facts import ExperimentFacts
from dashboard.views.text import percent, percent_field
from experiment_streams_client import HistoryItem

_BY_VERB = {
    "pause": "pause",
    "resume": "resume",
    "rollback": "roll back",
    "archive": "archive",
}


@dataclass(frozen=True, slots=True)
class UndoView:
    """The command that undoes a history entry, as a page shows it.

    Attributes:
        label: Its link.
        place: Its page, below that of the experiment.
    """

    label: str
    place: str


def undo_view(item: HistoryItem) -> UndoView | None:
    """Return the undo of an entry; None if it can no longer be undone.

    It leads to the page of a command where there is one that does it; to one that restores the
    values of before otherwise.
    """
    undo = item.undo
    verb = undo.path.rpartition("/")[2]
    if undo.method == "POST" and verb in _BY_VERB:
        return UndoView(f"Undo: {_BY_VERB[verb]}", f"commands/{verb}")
    if undo.method != "PATCH":
        return None
    share, is_active = undo.body.get("trafficAllocation"), undo.body.get("isActive")
    if [*undo.body] == ["trafficAllocation"] and isinstance(share, float | int):
        given = urlencode({"traffic": percent_field(share)})
        return UndoView(f"Undo: traffic of {percent(share)}", f"commands/ramp?{given}")
    if [*undo.body] == ["isActive"] and isinstance(is_active, bool):
        action = "reactivate-variant" if is_active else "stop-variant"
        label = "reactivate the variant" if is_active else "stop the variant"
        return UndoView(f"Undo: {label}", f"commands/{action}?{urlencode({'variant': verb})}")
    return UndoView("Undo: restore", f"restore/{quote(item.id, safe='')}")


def effects_on_users(facts: ExperimentFacts, effects: Sequence[DryRunEffect]) -> str:
    """Return what restoring values does to users, by a dry run of it."""
    found = [text for each in effects if (text := _effect(facts, each))]
    return " ".join(found) or "None: no user sees a change."


def _effect(facts: ExperimentFacts, effect: DryRunEffect) -> str:
    name, units = facts.name_of(effect.variant_id), facts.n_units(effect.units or 0)
    match effect.code:
        case "TRAFFIC_RAISED" | "TRAFFIC_LOWERED":
            return (
                f"{percent(effect.after)} of the {facts.units} take part instead of "
                f"{percent(effect.before)}; those who take part stay in."
            )
        case "VARIANT_STOPPED":
            return f"{units} who had {name} see another variant."
        case "VARIANT_REACTIVATED":
            return f"New {facts.units} get {name} again."
        case "CONTENT_CHANGED":
            return f"{name} has its former configuration again, for {units} so far."
        case "DEFINITION_CHANGED":
            return "None: it is a draft."
        case _:
            return effect.code.replace("_", " ").capitalize() + "."
