"""Units and requests that no other number includes."""

from __future__ import annotations

from dataclasses import dataclass

from streams.model.published import Published


@dataclass(frozen=True, slots=True)
class VoidedUnits(Published):
    """Voided units: no other number includes them or their values.

    Attributes:
        reason: Reason of the void.
        units: Number of units.
    """

    reason: str
    units: int


@dataclass(frozen=True, slots=True)
class OutsideCount(Published):
    """Excluded requests: they got the control or a forced variant, and no receipt.

    Attributes:
        reason: Reason of the answers, such as `INVALID_UNIT`.
        requests: Number of requests.
    """

    reason: str
    requests: int
