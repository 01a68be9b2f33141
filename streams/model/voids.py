"""Voids: assignments that are taken out again, with all that was observed of them.

A void is an observation of a reserved metric, `$void.<reason>`, of the assignment. So it is in the
partition of all other observations of its unit, and takes the same path as these.
"""

from __future__ import annotations

import re

from streams.model.errors import EventError, ReceiptError, quoted
from streams.model.receipts import Receipt

VOID_PREFIX = "$void."
"""Start of the name of the metric that voids an assignment; the rest is the reason."""

MAX_REASON = 32
"""Characters of a reason, at most."""

REASON_PATTERN = rf"[a-z][a-z0-9_-]{{0,{MAX_REASON - 1}}}"

MAX_REASONS = 16
"""Different reasons that a partition counts for one experiment; further ones count as `OTHER`."""

OTHER = "other"

_is_reason = re.compile(REASON_PATTERN).fullmatch


def void_metric(reason: str) -> str:
    """Return the name of the metric that voids an assignment.

    Raises:
        EventError: `reason` is not a lower-case letter and up to 31 lower-case letters, digits, `_`
            or `-` (`INVALID_REASON`).
    """
    if _is_reason(reason) is None:
        raise EventError(
            "INVALID_REASON",
            f"{quoted(reason)} is not a lower-case letter and up to {MAX_REASON - 1} lower-case "
            "letters, digits, _ or -",
            "reason",
        )
    return VOID_PREFIX + reason


def void_reason(metric: str) -> str | None:
    """Return the reason for which a metric voids an assignment; None for any other metric.

    >>> void_reason("$void.ivt"), void_reason("click")
    ('ivt', None)
    """
    return metric.removeprefix(VOID_PREFIX) if metric.startswith(VOID_PREFIX) else None


def check_voidable(receipt: Receipt, now_ms: int) -> None:
    """Refuse to void an assignment of which the observations are remembered no longer.

    They are until the end of its attribution window, and as long as the experiment without one.

    Raises:
        ReceiptError: that has passed (`VOID_TOO_LATE`).
    """
    window_s = receipt.attribution_window_s
    latest_ms = receipt.assigned_at_ms + window_s * 1000
    if window_s and now_ms > latest_ms:
        raise ReceiptError(
            "VOID_TOO_LATE",
            f"the attribution window of {window_s} s has ended, and what was observed is "
            "remembered no longer",
            "assignmentId",
        )
