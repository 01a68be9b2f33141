"""Attribution: the times at which an observation can be an effect of its assignment."""

from __future__ import annotations

from streams.model.errors import ReceiptError
from streams.model.receipts import Receipt
from streams.model.times import unit_hint

CLOCK_SKEW_MS = 300_000
"""Largest lag of the clock of an observer behind that of the assigner: five minutes."""

SKEW_LIMIT_MS = 5_000
"""Largest difference of clocks that is not reported."""


def check_attribution(receipt: Receipt, observed_at_ms: int) -> None:
    """Refuse an observation that its assignment cannot have caused.

    Raises:
        ReceiptError: it is more than `CLOCK_SKEW_MS` older than the assignment
            (`OBSERVED_BEFORE_ASSIGNMENT`), or the attribution window had ended (`EXPIRED_RECEIPT`).
    """
    age_ms = observed_at_ms - receipt.assigned_at_ms
    if age_ms < -CLOCK_SKEW_MS:
        raise ReceiptError(
            "OBSERVED_BEFORE_ASSIGNMENT",
            f"observed {-age_ms} ms before the assignment, must be at most {CLOCK_SKEW_MS} ms"
            + unit_hint(observed_at_ms),
            "timestamp",
        )
    window_s = receipt.attribution_window_s
    if window_s and age_ms > window_s * 1000:
        raise ReceiptError(
            "EXPIRED_RECEIPT",
            f"observed {age_ms} ms after the assignment, must be within {window_s} s"
            + unit_hint(observed_at_ms),
            "timestamp",
        )
