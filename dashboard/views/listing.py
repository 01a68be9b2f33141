"""The list of experiments: what needs a decision first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dashboard.views.facts import Facts
from dashboard.views.headline import Headline, headline
from dashboard.views.text import count, day_of

STATUSES = ("running", "paused", "draft", "concluded", "archived")

_ORDER = {
    "investigate": 0,
    "stop_guardrail": 1,
    "conclude_winner": 2,
    "conclude_no_difference": 2,
}
_PLANNED, _CONTINUE, _DRAFT, _ENDED = 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class ListRow:
    """An experiment in the list.

    Attributes:
        id, key, name, status: Of the experiment.
        headline: What to do; its sentence is short.
        units: Units so far, of the planned ones where there is a plan.
        day: Day of the experiment; empty before it runs.
        order: Place in the list; the smaller, the sooner a decision is due.
        created_at_ms: When it was created.
    """

    id: str
    key: str
    name: str
    status: str
    headline: Headline
    units: str
    day: str
    order: int
    created_at_ms: int


def list_rows(found: Iterable[Facts]) -> list[ListRow]:
    """Return the rows of the list, in its order, newest first among equals."""
    return sorted(map(_row, found), key=lambda row: (row.order, -row.created_at_ms))


def _row(facts: Facts) -> ListRow:
    stats, evidence = facts.stats, facts.evidence
    planned, n_variants = facts.planned_units, max(len(facts.active), 1)
    units = count(stats.total_assignments)
    if planned is not None:
        units += f" of {count(planned * n_variants)}"
    is_over = stats.status in {"running", "paused"}
    return ListRow(
        id=stats.experiment_id,
        key=stats.key or "",
        name=stats.name,
        status=stats.status,
        headline=headline(facts),
        units=f"{units} {facts.units}",
        day=(
            f"day {day_of(evidence.duration_ms)}"
            if is_over and evidence is not None and stats.as_of_ms
            else ""
        ),
        order=_order(facts),
        created_at_ms=facts.experiment.created_at,
    )


def _order(facts: Facts) -> int:
    stats = facts.stats
    if stats.recommended_action in _ORDER:
        return _ORDER[stats.recommended_action]
    if stats.status == "draft":
        return _DRAFT
    if stats.status in {"concluded", "archived"}:
        return _ENDED
    progress = None if facts.evidence is None else facts.evidence.progress
    return _PLANNED if progress is not None and progress >= 1.0 else _CONTINUE
