"""Evidence in the form of API answers and of the log of decisions."""

from __future__ import annotations

from typing import Any

from streams.analysis.promotion import obstacles
from streams.experiments.snapshot import Snapshot
from streams.experiments.stats_response import StatsEvidence
from streams.model.published import field_values, json_value


def answered_evidence(snapshot: Snapshot) -> StatsEvidence | None:
    """Return the evidence of a snapshot with the obstacles to a promotion; None if it has none."""
    found = snapshot.evidence
    if found is None:
        return None
    obstacle_names = tuple(each.value for each in obstacles(snapshot))
    return StatsEvidence(**field_values(found), promotion_obstacles=obstacle_names)


def stored_evidence(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return the evidence as a JSON value for the log of decisions, without sentences."""
    found = answered_evidence(snapshot)
    return None if found is None else json_value(found, snapshot.variant_ids, is_stored=True)
