"""Alternatives to "there is no difference"."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from streams.stats.arrays import FloatArray

Error = TypeVar("Error", float, FloatArray)


class Alternative(StrEnum):
    """Alternative that the comparisons of the primary metric are tested for."""

    TWO_SIDED = "two_sided"
    """Any variant, including the control, is better than all others."""

    BETTER = "better"
    """A variant is better than the control and all others; in the direction of the metric."""

    def of_one_side(self, alpha: Error) -> Error:
        """Return the error of one end of an interval of this error.

        Examples:
            >>> Alternative.TWO_SIDED.of_one_side(0.05), Alternative.BETTER.of_one_side(0.05)
            (0.025, 0.05)
        """
        return alpha / 2.0 if self is Alternative.TWO_SIDED else alpha
