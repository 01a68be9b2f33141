"""Units and requests that no other number includes."""

from __future__ import annotations

from dataclasses import dataclass

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class VoidedUnits(Published):
    """Units that were voided: they and their values are in no other number.

    Attributes:
        reason: Why.
        units: How many.
    """

    reason: str
    units: int


@dataclass(frozen=True, slots=True)
class OutsideCount(Published):
    """Requests that took no part: they got the control or a forced variant, and no receipt.

    Attributes:
        reason: Reason of the answers, such as `INVALID_UNIT`.
        requests: How many.
    """

    reason: str
    requests: int
