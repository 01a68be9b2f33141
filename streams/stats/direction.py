"""Direction of improvement of a metric."""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Direction of improvement of a metric."""

    INCREASE = "increase"
    DECREASE = "decrease"

    @property
    def sign(self) -> float:
        """1 if more is better, -1 if less is."""
        return 1.0 if self is Direction.INCREASE else -1.0
