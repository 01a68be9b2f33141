"""Responses about the history of an experiment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.http.models.responses import ResponseModel


class HistoryChange(ResponseModel):
    """A value that a command has changed.

    Attributes:
        path: Its place, as in `config.trafficAllocation` or `variants[1].isActive`.
        before, after: The values; None where a value is absent or not kept.
        is_omitted: Whether they are not kept: they are large, or hold ids of units.
    """

    path: str
    before: Any = None
    after: Any = None
    is_omitted: bool = False


class HistoryUndo(ResponseModel):
    """Whether and how an entry can be undone.

    Attributes:
        code: `COMPLETE` or `PARTIAL`, and then there is a request; else `NOTHING_TO_UNDO`,
            `CHANGED_SINCE`, `FINAL` or `VALUES_NOT_KEPT`.
        method, path, body: The request that undoes it; empty if it cannot be undone.
    """

    code: str
    method: str = ""
    path: str = ""
    body: dict[str, Any] = Field(default_factory=dict)


class HistoryItem(ResponseModel):
    """An entry of a history.

    Attributes:
        id: Its id: 32 hexadecimal digits.
        at: Time, in milliseconds since the epoch.
        kind: Kind of the command, or `recommendation`.
        author: `key:NAME` of an API key, `open` without keys, either followed by `/` and a declared
            name; `schedule`, `promotion` or `evaluation`. Empty if unknown.
        reason: Reason in the author's words; empty without one.
        reason_code: Code of the reason of an automatic entry; empty without one.
        version: Version of the experiment after a command; of the statistics of a recommendation.
        accepted: Whether a command took effect.
        code: Code of its refusal; empty if it took effect.
        changes: Changed values.
        omitted_changes: Number of changes that are not in `changes`.
        undo: Whether and how it can be undone now.
    """

    id: str
    at: int
    kind: str
    author: str
    reason: str
    reason_code: str
    version: int
    accepted: bool
    code: str
    changes: tuple[HistoryChange, ...]
    omitted_changes: int
    undo: HistoryUndo


class HistoryPage(ResponseModel):
    """A page of the history of an experiment, newest first.

    Attributes:
        entries: The entries.
        next_cursor: Leads to the next page; None on the last one.
    """

    entries: tuple[HistoryItem, ...]
    next_cursor: str | None = None
