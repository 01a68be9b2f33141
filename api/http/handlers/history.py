"""Handler of the history of an experiment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api.http.dependencies import ServicesDep, json_response
from api.http.filters import named
from api.http.models.history import HistoryChange, HistoryItem, HistoryPage, HistoryUndo
from api.http.models.queries import HistoryQuery
from streams.experiments.history import RECOMMENDATION, HistoryEntry
from streams.experiments.lifecycle import Experiment
from streams.experiments.undo import undo_of
from streams.model.events import CommandKind

KINDS = (*(kind.value for kind in CommandKind if kind is not CommandKind.TICK), RECOMMENDATION)


async def get_experiment_history(
    services: ServicesDep, experiment_id: str, query: Annotated[HistoryQuery, Query()]
) -> Response:
    """Return the history of an experiment, newest first: who, when, why, and how to undo it.

    It has the commands of users, of the schedule and of automatic promotion, including refused
    ones, and changes of the recommended action. The newest 200 commands and 50 recommendations are
    kept; the topic `decisions` has all.
    """
    experiment = services.experiments.snapshot(experiment_id).experiment
    kinds = None if query.kind is None else named(query.kind, KINDS, "query.kind")
    found = [
        entry
        for entry in reversed(await services.history(experiment.id))
        if kinds is None or entry.kind in kinds
    ]
    if query.cursor is not None:
        # An entry that has been dropped since was the oldest, so no page follows.
        place = next((i for i, each in enumerate(found) if each.id == query.cursor), len(found))
        found = found[place + 1 :]
    page = found[: query.limit]
    return json_response(
        HistoryPage(
            entries=tuple(_item(entry, experiment) for entry in page),
            next_cursor=page[-1].id if len(found) > len(page) else None,
        )
    )


def _item(entry: HistoryEntry, now: Experiment) -> HistoryItem:
    undo = undo_of(entry, now)
    return HistoryItem(
        id=entry.id,
        at=entry.at_ms,
        kind=entry.kind,
        author=entry.author,
        reason=entry.reason,
        reason_code=entry.reason_code,
        version=entry.version,
        accepted=not entry.code,
        code=entry.code,
        changes=tuple(
            HistoryChange(
                path=each.path,
                before=each.before,
                after=each.after,
                is_omitted=each.is_omitted,
            )
            for each in entry.changes
        ),
        omitted_changes=entry.n_omitted,
        undo=HistoryUndo(code=undo.code, method=undo.method, path=undo.path, body=undo.body),
    )
