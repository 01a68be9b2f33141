"""Assumptions of a plan about the metric: baseline, deviation, and lift of the best variant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, VALUE_LIMIT

LARGEST_COUNT = 1_000_000
"""Largest baseline of a count."""

_TAIL = 1e-15  # counts further out are not drawn


class ValueKind(StrEnum):
    """Distribution of the value of a unit."""

    BINARY = "binary"
    """0 or 1, as a click."""

    COUNT = "count"
    """Poisson, as the number of purchases."""

    CONTINUOUS = "continuous"
    """Normal, with a standard deviation that must be stated, as revenue."""


@dataclass(frozen=True, slots=True)
class Values:
    """Values of some units of one variant.

    Attributes:
        units: Units with a value.
        total: Their sum, in micro-units.
        total_squared: The sum of their squares, in micro-units squared.
        total_cubed: The sum of their cubes, in micro-units cubed.
    """

    units: int
    total: int
    total_squared: int
    total_cubed: int


@dataclass(frozen=True, slots=True)
class Assumption:
    """The metric per unit, if one variant is better and all others are as the control.

    One better variant among equals is the hardest case for finding it.

    Attributes:
        kind: How values are distributed.
        baseline: Mean of the control, > 0; of a binary metric < 1.
        lift: How much larger the best mean is, relative to the baseline, > 0.
        deviation: Standard deviation of the value of a unit, > 0; of a continuous metric alone.
    """

    kind: ValueKind
    baseline: float
    lift: float
    deviation: float | None = None

    def __post_init__(self) -> None:
        limit = LARGEST_COUNT if self.kind is ValueKind.COUNT else VALUE_LIMIT
        if not 0.0 < self.baseline <= limit:
            raise InvalidParameterError("baseline", self.baseline, f"in (0, {limit}]")
        if not 0.0 < self.lift < math.inf:
            raise InvalidParameterError("lift", self.lift, "> 0")
        if self.kind is ValueKind.BINARY and not self.best < 1.0:
            rule = "a rate that the lift leaves below 1"
            raise InvalidParameterError("baseline", self.baseline, rule)
        if self.kind is ValueKind.CONTINUOUS:
            if self.deviation is None or not 0.0 < self.deviation < math.inf:
                raise InvalidParameterError("deviation", self.deviation, "> 0 and stated")
        elif self.deviation is not None:
            raise InvalidParameterError(
                "deviation", self.deviation, f"left out: the mean of a {self.kind} metric gives it"
            )

    @property
    def best(self) -> float:
        """Mean of the best variant."""
        return self.baseline * (1.0 + self.lift)

    @property
    def difference(self) -> float:
        """Difference that the best variant makes per unit."""
        return self.baseline * self.lift

    def means(self, n_variants: int) -> tuple[float, ...]:
        """Return the mean of every variant: the last one is the best."""
        return (self.baseline,) * (n_variants - 1) + (self.best,)

    def variance(self, mean: float) -> float:
        """Return the variance of the value of a unit whose variant has this mean."""
        match self.kind:
            case ValueKind.BINARY:
                return mean * (1.0 - mean)
            case ValueKind.COUNT:
                return mean
            case ValueKind.CONTINUOUS:
                return (self.deviation or 0.0) ** 2

    def draw(self, random: np.random.Generator, mean: float, n_units: int) -> Values:
        """Return the values of units of a variant with this mean.

        Args:
            random: Where they are drawn from.
            mean: Mean of the variant.
            n_units: How many units, >= 0.
        """
        if n_units == 0:
            return Values(0, 0, 0, 0)
        match self.kind:
            case ValueKind.BINARY:
                ones = int(random.binomial(n_units, mean))
                return Values(ones, ones * MICRO, ones * MICRO * MICRO, ones * MICRO**3)
            case ValueKind.COUNT:
                return _draw_counts(random, mean, n_units)
            case ValueKind.CONTINUOUS:
                return self._draw_normal(random, mean, n_units)

    def _draw_normal(self, random: np.random.Generator, mean: float, n_units: int) -> Values:
        """Draw sum and sum of squares themselves, which are independent but for the mean.

        The third central moment is that of the distribution, 0.
        """
        variance = self.variance(mean)
        total = random.normal(n_units * mean, math.sqrt(n_units * variance))
        around = variance * random.chisquare(n_units - 1) if n_units > 1 else 0.0
        squares = around + total * total / n_units
        mean = total / n_units
        cubes = mean * (3.0 * squares - 2.0 * total * mean)
        return Values(
            n_units, round(total * MICRO), round(squares * MICRO**2), round(cubes * MICRO**3)
        )


def _draw_counts(random: np.random.Generator, mean: float, n_units: int) -> Values:
    """Draw how many units have each count, so that millions of units cost what one does."""
    counts, chances = poisson(mean)
    drawn = random.multinomial(n_units, chances / chances.sum()).tolist()
    pairs = [(count, units) for count, units in zip(counts.tolist(), drawn, strict=True) if units]
    return Values(
        units=sum(units for count, units in pairs if count),
        total=sum(count * units for count, units in pairs) * MICRO,
        total_squared=sum(count * count * units for count, units in pairs) * MICRO * MICRO,
        total_cubed=sum(count**3 * units for count, units in pairs) * MICRO**3,
    )


def poisson(mean: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the counts between both tails of a Poisson distribution, and their probabilities.

    `scipy.stats` has it, too, but takes as long to import as all else of the API.
    """
    counts = np.arange(_count_at(_TAIL, mean), _count_at(1.0 - _TAIL, mean) + 1)
    logarithms = special.xlogy(counts, mean) - special.gammaln(counts + 1) - mean
    return counts, np.exp(logarithms)


def _count_at(probability: float, mean: float) -> int:
    """Return the smallest count up to which a Poisson distribution has this probability."""
    count: int = math.ceil(special.pdtrik(probability, mean))
    has_one_less = count > 0 and special.pdtr(count - 1, mean) >= probability
    return count - 1 if has_one_less else count
