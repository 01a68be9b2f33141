"""Results of calls: the JSON of the API as frozen, typed values.

Fields that a newer engine adds are ignored, so an older client goes on working.
"""

from __future__ import annotations

from typing import Any

from api.http.models.history import HistoryItem, HistoryPage
from api.http.models.responses import (
    Assignment,
    AssignmentsPage,
    ErrorDetails,
    ErrorResponse,
    Holdout,
    Holdouts,
)
from api.http.models.summaries import ExperimentsPage, ListedExperiment
from api.http.models.webhooks import Webhook, Webhooks


class Experiments(tuple[ListedExperiment, ...]):  # noqa: SLOT001 - a tuple that knows one thing more
    """Experiments of one answer.

    Attributes:
        next_cursor: Leads to the next page; None on the last one.
    """

    next_cursor: str | None = None


def experiments(payload: Any) -> Experiments:
    """Return the experiments of a `GET /experiments`."""
    page = ExperimentsPage.model_validate(payload)
    found = Experiments(page.experiments)
    found.next_cursor = page.next_cursor
    return found


class History(tuple[HistoryItem, ...]):  # noqa: SLOT001 - likewise
    """Entries of one answer.

    Attributes:
        next_cursor: Leads to the next page; None on the last one.
    """

    next_cursor: str | None = None


def history(payload: Any) -> History:
    """Return the entries of a `GET /experiments/{id}/history`."""
    page = HistoryPage.model_validate(payload)
    found = History(page.entries)
    found.next_cursor = page.next_cursor
    return found


def webhooks(payload: Any) -> tuple[Webhook, ...]:
    """Return the webhooks of a `GET /webhooks`."""
    return Webhooks.model_validate(payload).webhooks


def holdouts(payload: Any) -> tuple[Holdout, ...]:
    """Return the holdouts of a `GET /holdouts`."""
    return Holdouts.model_validate(payload).holdouts


def assignments(payload: Any) -> tuple[tuple[Assignment | ErrorDetails, ...], ...]:
    """Return the assignments of a `POST /assign`, or why there is none, one row per unit."""
    rows = AssignmentsPage.model_validate(payload).assignments
    return tuple(
        tuple(each.error if isinstance(each, ErrorResponse) else each for each in row)
        for row in rows
    )
