"""Bounds of the values of units, by which comparisons are exact."""

from __future__ import annotations

Bounds = tuple[float, float]
"""Least and largest value of a unit, in units of the metric; the first is <= 0, as a unit without
an observation has the value 0."""

BINARY: Bounds = (0.0, 1.0)
"""Bounds of values that are 0 or 1."""
