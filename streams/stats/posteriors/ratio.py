"""Posterior of a ratio: the sum of one metric over the sum of another, per variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally

_ROUNDING = 1e-9  # of the sums put together: how far below 0 rounding may bring their difference


@dataclass(frozen=True, slots=True)
class RatioSample:
    """Sums over the units of one variant, x being the numerator and y the denominator of a unit.

    Attributes:
        units: Units assigned, >= 0.
        numerator: Sum of x.
        denominator: Sum of y, >= 0.
        numerator_squared_deviations: Sum of (x - mean of x) squared, >= 0.
        denominator_squared_deviations: Sum of (y - mean of y) squared, >= 0.
        codeviations: Sum of (x - mean of x) (y - mean of y).

    Raises:
        InvalidParameterError: a sum is outside its domain.
    """

    units: float
    numerator: float
    denominator: float
    numerator_squared_deviations: float
    denominator_squared_deviations: float
    codeviations: float

    def __post_init__(self) -> None:
        for name in ("numerator", "codeviations"):
            if not math.isfinite(getattr(self, name)):
                raise InvalidParameterError(name, getattr(self, name), "finite")
        for name in (
            "units",
            "denominator",
            "numerator_squared_deviations",
            "denominator_squared_deviations",
        ):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InvalidParameterError(name, getattr(self, name), "finite and >= 0")
        largest = math.sqrt(self.numerator_squared_deviations) * math.sqrt(
            self.denominator_squared_deviations
        )
        if abs(self.codeviations) > largest * (1.0 + _ROUNDING):
            raise InvalidParameterError("codeviations", self.codeviations, f"within +-{largest!r}")

    @classmethod
    def of(
        cls, units: int, numerator: MetricTally, denominator: MetricTally, total_product: int
    ) -> Self:
        """Return the sample of two tallies and the sum of products.

        Args:
            units: Units assigned.
            numerator, denominator: The two metrics.
            total_product: Sum over the units of numerator times denominator, in micro-units
                squared. One that no units can have is taken for the nearest that some can.
        """
        n = max(units, numerator.units, denominator.units)

        def deviations(product: int, left: int, right: int) -> float:
            return (n * product - left * right) / (n * MICRO * MICRO) if n else 0.0

        x, y = numerator.total, denominator.total
        spread_x = deviations(numerator.total_squared, x, x)
        spread_y = deviations(denominator.total_squared, y, y)
        largest = math.sqrt(spread_x) * math.sqrt(spread_y)
        return cls(
            units=n,
            numerator=x / MICRO,
            denominator=y / MICRO,
            numerator_squared_deviations=spread_x,
            denominator_squared_deviations=spread_y,
            codeviations=min(max(deviations(total_product, x, y), -largest), largest),
        )

    @property
    def ratio(self) -> float:
        """The ratio of the sums; 0 without a denominator."""
        return self.numerator / self.denominator if self.denominator else 0.0

    def linearised(self, units_with_value: float) -> Sample:
        """Return the sample of R + (x - R y) / (mean of y), the values that have the mean R.

        Args:
            units_with_value: Units with a value of both metrics.
        """
        return Sample(
            units=self.units,
            units_with_value=units_with_value,
            total=self.ratio * self.units,
            squared_deviations=self.squared_deviations,
            value_squared_deviations=0.0,
        )

    @property
    def squared_deviations(self) -> float:
        """Sum over the units of ((x - ratio * y) / mean of y)^2; 0 without a denominator."""
        if not self.denominator:
            return 0.0
        mean, ratio = self.denominator / self.units, self.ratio
        spread = (
            self.numerator_squared_deviations
            - 2.0 * ratio * self.codeviations
            + ratio * ratio * self.denominator_squared_deviations
        )
        return max(spread, 0.0) / (mean * mean)


def ratio_posteriors(
    samples: Sequence[Sample],
    has_denominator: Sequence[bool],
    *,
    prior: NormalPrior | None = None,
) -> NormalPosterior:
    """Return the posteriors of the ratios of all arms: Student t, by the delta method.

    A ratio R of sums moves with a unit by (x - R y) / (mean of y), so it is the mean of
    z = R + (x - R y) / (mean of y), and has the posterior of the mean of a continuous value. This
    is exact to the first order in 1 / units: the denominator's mean should be many of its standard
    errors above 0. Arms whose denominator is 0 have the prior.

    Args:
        samples: z of the arms, at least one.
        has_denominator: Whether the denominator of each arm is above 0.
        prior: Prior of z; a weak one unless stated, see `NormalPosterior.observed`.

    Source: Deng, Knoblich and Lu (2018), "Applying the delta method in metric analytics",
        equation 4.

    Examples:
        >>> clicks_per_view = RatioSample(4, 6, 8, 5, 2, 3).linearised(4)
        >>> round(float(ratio_posteriors([clicks_per_view], [True]).means[0]), 2)
        0.75
    """
    known = np.array(has_denominator, dtype=np.float64)
    units, totals, deviations = np.array(
        [(sample.units, sample.total, sample.squared_deviations) for sample in samples]
    ).T
    return NormalPosterior.observed(known * units, known * totals, known * deviations, prior=prior)
