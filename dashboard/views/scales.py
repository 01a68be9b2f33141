"""Axes of charts: positions in percent of the width, and round marks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)
_WANTED_MARKS = 5
_MARGIN = 0.04


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis.

    Attributes:
        lower, upper: Its ends; the first is below the second.
    """

    lower: float
    upper: float

    def at(self, value: float) -> str:
        """Return a position along the axis in percent, for an attribute of SVG."""
        share = (min(max(value, self.lower), self.upper) - self.lower) / (self.upper - self.lower)
        return f"{100.0 * share:.2f}%"

    def span(self, lower: float, upper: float) -> str:
        """Return the length between two values, in percent."""
        ends = [min(max(value, self.lower), self.upper) for value in (lower, upper)]
        return f"{100.0 * (ends[1] - ends[0]) / (self.upper - self.lower):.2f}%"

    def marks(self) -> list[float]:
        """Return round values along the axis, about five."""
        rough = (self.upper - self.lower) / _WANTED_MARKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * each for each in _STEPS if size * each >= rough * (1 - 1e-9))
        first = math.ceil(self.lower / step - 1e-9)
        last = math.floor(self.upper / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def axis_of(values: Iterable[float | None]) -> Axis:
    """Return an axis that shows all of the values that are known, with a margin."""
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    lower, upper = min(known), max(known)
    if upper - lower <= 1e-12 * max(abs(lower), abs(upper), 1e-300):
        half = abs(upper) * 0.1 or 1.0
        return Axis(lower - half, upper + half)
    margin = _MARGIN * (upper - lower)
    return Axis(lower - margin, upper + margin)
