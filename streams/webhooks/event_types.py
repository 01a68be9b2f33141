"""Types of events, and the patterns that choose among them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

ALL = "*"
_GROUP = ".*"


class EventType(StrEnum):
    """Type of an event, as receivers see it."""

    CREATED = "experiment.created"
    EDITED = "experiment.edited"
    STARTED = "experiment.started"
    PAUSED = "experiment.paused"
    RESUMED = "experiment.resumed"
    UPDATED = "experiment.updated"
    VARIANT_ADDED = "experiment.variant_added"
    VARIANT_CHANGED = "experiment.variant_changed"
    SCHEDULE_APPLIED = "experiment.schedule_applied"
    CONCLUDED = "experiment.concluded"
    PROMOTED = "experiment.promoted"
    """Concluded automatically, with a winner."""
    ROLLED_BACK = "experiment.rolled_back"
    ARCHIVED = "experiment.archived"
    REPORTED = "experiment.reported"
    """The statistics as of the conclusion are final."""
    RECOMMENDATION_CHANGED = "recommendation.changed"
    COMMAND_REFUSED = "command.refused"
    TEST = "webhook.test"
    """Sent because a test was asked for, whatever a webhook has chosen."""


PATTERNS = frozenset(
    {
        ALL,
        *(each.value for each in EventType if each is not EventType.TEST),
        *(each.partition(".")[0] + _GROUP for each in EventType if each is not EventType.TEST),
    }
)
"""Members of `events` of a webhook: types, all types of a group (`experiment.*`), and all."""


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Return whether one of some patterns chooses a type.

    >>> matches(["experiment.*"], "experiment.started"), matches(["*"], "command.refused")
    (True, True)
    """
    group = event_type.partition(".")[0] + _GROUP
    return any(each in {ALL, event_type, group} for each in patterns)
