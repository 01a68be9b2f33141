"""Event from which a unit of an experiment counts."""

from __future__ import annotations

from enum import StrEnum

from streams.model.errors import EventError
from streams.model.events import EXPOSURE
from streams.model.ids import experiment_id

WINDOWS_BY_EXPOSURE = 2
"""Attribution windows from an assignment to the last observation that may count, where units count
from their first exposure: one up to the exposure, and one from there."""


class Exposure(StrEnum):
    """Event from which a unit counts."""

    ASSIGNMENT = "assignment"
    EVENT = "event"
    """Its first exposure, reported by the caller: an assignment alone does not count."""

    def windows(self, metric: str) -> int:
        """Return within how many attribution windows an event of a metric may count."""
        is_observation = self is Exposure.EVENT and metric != EXPOSURE
        return WINDOWS_BY_EXPOSURE if is_observation else 1


def exposure_not_used(experiment: int) -> EventError:
    """Return the error of an exposure where units count from their assignment.

    Args:
        experiment: The experiment as a 64-bit number.
    """
    return EventError(
        "EXPOSURE_NOT_USED",
        f"{experiment_id(experiment)} counts units from their assignment, not from an exposure",
        "assignmentId",
    )
