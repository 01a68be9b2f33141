"""What happened to an experiment, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views.text import duration, percent
from experiment_streams_client import Experiment

_LATE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened.

    Attributes:
        at_ms: When, in milliseconds since the epoch.
        what: What.
        who: Who did it; empty where that is not known.
        why: Further words.
    """

    at_ms: int
    what: str
    who: str = ""
    why: str = ""


def history(experiment: Experiment) -> list[Happening]:
    """Return what happened to an experiment, as its record tells it, newest first."""
    names = {variant.id: variant.name for variant in experiment.variants}
    found = [Happening(experiment.created_at, "Created")]
    if experiment.started_at is not None:
        found.append(Happening(experiment.started_at, "Started"))
    for event in () if experiment.schedule is None else experiment.schedule.events:
        what = {
            "start": "Started by its schedule",
            "ramp": f"Traffic set to {percent(event.traffic_allocation)} by its schedule",
            "hold": f"Ramp held: {event.because}",
            "end": "Ended by its schedule",
        }.get(event.action, event.action)
        late = f"{duration(event.late_ms)} late" if event.late_ms >= _LATE_MS else ""
        found.append(Happening(event.at, what, "schedule", late))
    if experiment.concluded_at is not None:
        winner = experiment.winner_variant_id
        promotion = experiment.promotion
        by = "automatic promotion" if promotion is not None and promotion.is_automatic else ""
        chosen = promotion.variant_id if promotion is not None else winner
        named = "without a winner" if chosen is None else f"with {names.get(chosen, chosen)}"
        found.append(Happening(experiment.concluded_at, f"Concluded {named}", by))
        if promotion is not None and promotion.rolled_back_at is not None:
            found.append(Happening(promotion.rolled_back_at, "Rolled back"))
    return sorted(found, key=lambda each: each.at_ms, reverse=True)
