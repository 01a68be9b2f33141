"""Findings that hold the ramp of a schedule."""

from __future__ import annotations

from streams.experiments.schedule import HoldOn
from streams.experiments.snapshot import Snapshot


def hold_of(snapshot: Snapshot) -> HoldOn | None:
    """Return the finding that holds the ramp of an experiment; None if nothing does."""
    schedule, evidence = snapshot.experiment.definition.config.schedule, snapshot.evidence
    if schedule is None or evidence is None:
        return None
    found = {
        HoldOn.GUARDRAIL: any(each.is_tripped for each in evidence.guardrails),
        HoldOn.SAMPLE_RATIO: evidence.sample_ratio.is_mismatch,
    }
    return next((each for each in schedule.hold_on if found[each]), None)
