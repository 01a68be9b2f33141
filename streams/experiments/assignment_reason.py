"""Reasons of assignments."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason for the variant of an assignment."""

    ASSIGNED = "ASSIGNED"
    """Assigned by the hash of the unit, under the allocation in force."""
    STICKY = "STICKY"
    """The unit was assigned before, and keeps its variant."""
    STICKY_UNAVAILABLE = "STICKY_UNAVAILABLE"
    """The store of first receipts is unavailable or not rebuilt: assigned by the hash, or as this
    process decided before, and stored as soon as possible."""
    REDRAWN = "REDRAWN"
    """The assigned variant of the unit is not eligible for this request: another one was drawn and
    is not stored. Observations of the unit still count for its assigned variant."""
    NOT_ENROLLED = "NOT_ENROLLED"
    """The unit does not take part; it sees the control, and nothing is logged."""
    NOT_TARGETED = "NOT_TARGETED"
    """The rule of the experiment does not match the request; it sees the control, and nothing is
    logged."""
    HOLDOUT = "HOLDOUT"
    """The unit is held out; it sees the control. Its receipt is that of the holdout, if it would
    take part in the experiment otherwise, and then it is counted there."""
    NOT_IN_LAYER = "NOT_IN_LAYER"
    """The unit is not in the experiment's part of its layer; it sees the control, and nothing is
    logged."""
    FORCED = "FORCED"
    """An override gives its unit this variant; nothing is logged."""
    SHIPPED = "SHIPPED"
    """The experiment is concluded and serves this variant to all users; nothing is logged."""
    INVALID_UNIT = "INVALID_UNIT"
    """Its id is an ignored one (`ignoredUnits`); it sees the control, and nothing is logged."""
