"""Sufficient statistics of one metric of one variant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.tallies.cell import MetricTally


@dataclass(frozen=True, slots=True)
class Sample:
    """Sums over the units of one variant; a unit without an observation has the value 0.

    Counts need not be whole: what is forgotten by half counts half.

    Attributes:
        units: Units assigned, >= 0.
        units_with_value: Units with at least one observation, in [0, units].
        total: Sum of the values, in units of the metric.
        squared_deviations: Sum of squared deviations from the mean of all units, >= 0.
        value_squared_deviations: The same over units with a value, from their own mean, >= 0.

    Raises:
        InvalidParameterError: a sum is outside its domain.
    """

    units: float
    units_with_value: float
    total: float
    squared_deviations: float
    value_squared_deviations: float

    def __post_init__(self) -> None:
        # There are samples of every metric and variant in each evaluation, and nearly all are good.
        is_finite = (
            0.0 <= self.units < math.inf
            and 0.0 <= self.squared_deviations < math.inf
            and 0.0 <= self.value_squared_deviations < math.inf
            and -math.inf < self.total < math.inf
        )
        if not (is_finite and 0.0 <= self.units_with_value <= self.units):
            self._refuse()

    def _refuse(self) -> None:
        """Raise the error that says which field is outside its domain."""
        for name in ("units", "squared_deviations", "value_squared_deviations"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise InvalidParameterError(name, value, "finite and >= 0")
        if not math.isfinite(self.total):
            raise InvalidParameterError("total", self.total, "finite")
        if not 0.0 <= self.units_with_value <= self.units:
            rule = f"in 0..units == {self.units!r}"
            raise InvalidParameterError("units_with_value", self.units_with_value, rule)

    @classmethod
    def of(cls, units: int, metric: MetricTally) -> Self:
        """Return the sample that a tally holds.

        Impressions and observations come by different topics: an observation may be here before
        its impression, and then its unit counts as assigned.
        """
        n = max(units, metric.units)
        return cls(
            units=n,
            units_with_value=metric.units,
            total=metric.total / MICRO,
            squared_deviations=squared_deviations(n, metric.total, metric.total_squared),
            value_squared_deviations=squared_deviations(
                metric.units, metric.total, metric.total_squared
            ),
        )

    @property
    def mean(self) -> float:
        """Mean per unit; 0 without units."""
        return self.total / self.units if self.units else 0.0


def squared_deviations(units: int, total: int, total_squared: int) -> float:
    """Return the sum of squared deviations from the mean, in units of the metric squared.

    The difference of large sums is taken in integers and divided once, so no digit is lost.

    Args:
        units: Number of units, >= 0.
        total: Sum of their values, in micro-units.
        total_squared: Sum of the squares, in micro-units squared.
    """
    spread = units * total_squared - total * total
    return spread / (units * MICRO * MICRO) if units else 0.0


def cubed_deviations(units: int, total: int, total_squared: int, total_cubed: int) -> float:
    """Return the sum of cubed deviations from the mean, in units of the metric cubed.

    Args:
        units, total, total_squared: As in `squared_deviations`.
        total_cubed: Sum of the cubes, in micro-units cubed.

    Examples:
        >>> cubed_deviations(4, 8 * MICRO, 64 * MICRO**2, 512 * MICRO**3)  # 0, 0, 0 and 8
        192.0
    """
    above = units * (units * total_cubed - 3 * total * total_squared) + 2 * total**3
    return above / (units * units * MICRO**3) if units else 0.0
