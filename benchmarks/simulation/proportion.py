"""Proportion of an outcome in a simulation, with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special

from streams.model.errors import InvalidParameterError


@dataclass(frozen=True, slots=True)
class Proportion:
    """Events among repetitions.

    Attributes:
        events: How often it happened, in 0..repetitions.
        repetitions: How often it could have, >= 1.

    Raises:
        InvalidParameterError: a number is outside its domain.
    """

    events: int
    repetitions: int

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise InvalidParameterError("repetitions", self.repetitions, ">= 1")
        if not 0 <= self.events <= self.repetitions:
            raise InvalidParameterError("events", self.events, "in 0..repetitions")

    @property
    def share(self) -> float:
        """Events over repetitions."""
        return self.events / self.repetitions

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the exact confidence interval of the probability.

        Args:
            level: Confidence, in (0, 1).

        Source: Clopper and Pearson (1934).

        Examples:
            >>> low, high = Proportion(5, 100).interval()
            >>> round(low, 4), round(high, 4)
            (0.0164, 0.1128)
        """
        if not 0.0 < level < 1.0:
            raise InvalidParameterError("level", level, "in (0, 1)")
        tail, k, n = (1.0 - level) / 2.0, self.events, self.repetitions
        lower = float(special.betaincinv(k, n - k + 1, tail)) if k else 0.0
        upper = float(special.betaincinv(k + 1, n - k, 1.0 - tail)) if k < n else 1.0
        return lower, upper
