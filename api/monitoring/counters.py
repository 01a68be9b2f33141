"""Counters of requests: plain numbers that the hot path adds to."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip


class Histogram:
    """Counts by bucket, and the sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of values up to it), as Prometheus has them."""
        total, found = 0, []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return found

    @property
    def sum(self) -> float:
        """Sum of the values."""
        return self._sum


@dataclass(slots=True)
class RequestCounters:
    """Counts of requests.

    Attributes:
        errors: Answers that were errors, by code.
        latency: Seconds from a request to its answer, of assignments (`assign`) and observations
            (`observe`).
    """

    errors: Counter[str] = field(default_factory=Counter)
    latency: dict[str, Histogram] = field(
        default_factory=lambda: {
            traffic: Histogram(LATENCY_BOUNDS_S) for traffic in ("assign", "observe")
        }
    )
