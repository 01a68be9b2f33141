"""Posterior of the mean of a continuous value: Normal-Inverse-Gamma, so Student t."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray, all_of
from streams.stats.posterior_parameters import PosteriorFamily
from streams.stats.posteriors.base import NARROWEST, Arms

PRIOR_UNITS = 1.0
"""Units that the prior of a mean weighs: one, as in a unit-information prior."""

PRIOR_DEGREES = 3.0
"""Degrees of freedom of a prior, and the fewest of a posterior without one: the fewest whole ones
with a finite mean and variance."""

FEWEST_DEGREES = 2.1
"""Fewest degrees of freedom of a declared prior: a variance that exists, and can be divided by."""

SMALLEST_VARIANCE = MICRO**-2.0
"""Smallest variance that values can show: that of one micro-unit."""

_FINITE_VARIANCE = 2.0  # a t distribution has a variance above these degrees of freedom
_DEPTH = 40.0  # the density falls by exp(-40); with 3 degrees 4e-14 of the mass lies beyond
_SCALES_PER_PANEL = 2.0


@dataclass(frozen=True, slots=True)
class NormalPrior:
    """Normal-Inverse-Gamma prior of the values of every arm.

    Given a variance v of the values, their mean is Normal(mean, v / units); and v is inverse-Gamma
    with the shape degrees / 2 and the scale degrees * variance / 2.

    Attributes:
        mean: Expected mean, finite.
        variance: Expected size of the variance of the values, finite and > 0.
        units: Units that the prior weighs against the data, > 0.
        degrees: Units that its variance weighs, > 2, so that the mean has a variance.

    Raises:
        InvalidParameterError: a parameter is outside its domain.
    """

    mean: float
    variance: float
    units: float = PRIOR_UNITS
    degrees: float = PRIOR_DEGREES

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise InvalidParameterError("mean", self.mean, "finite")
        for name, value in (("variance", self.variance), ("units", self.units)):
            if not 0.0 < value < math.inf:
                raise InvalidParameterError(name, value, "finite and > 0")
        if not _FINITE_VARIANCE < self.degrees < math.inf:
            raise InvalidParameterError("degrees", self.degrees, "finite and > 2")

    @classmethod
    def pooled(
        cls, units: FloatArray, totals: FloatArray, squared_deviations: FloatArray
    ) -> NormalPrior:
        """Return the prior that is worth one unit drawn from all arms together.

        A policy starts from it, so that an arm with few units is taken for one like the others.

        While all values are equal, as after one unit, the variance is the square of their
        mean, or 1 if that is 0, so that one purchase does not make the next one certain.

        Source: Kass and Wasserman (1995), the unit-information prior.
        """
        everyone = float(units.sum())
        mean = float(totals.sum()) / everyone if everyone else 0.0
        means = np.where(units > 0.0, totals / np.where(units > 0.0, units, 1.0), mean)
        between = units * (means - mean) ** 2
        spread = float((squared_deviations + between).sum())
        return cls(mean, _prior_variance(mean, spread / everyone if everyone else 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class NormalPosterior:
    """Posteriors of the means of several arms: location and scale of Student t distributions.

    Attributes:
        location: Posterior means; shape (n_arms,), finite.
        scale: Scales of the means; shape (n_arms,), finite, > 0.
        degrees: Degrees of freedom; shape (n_arms,), > 2.

    Raises:
        InvalidParameterError: a parameter is outside its domain.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.3.
    """

    family: ClassVar[PosteriorFamily] = PosteriorFamily.STUDENT_T

    location: FloatArray
    scale: FloatArray
    degrees: FloatArray

    def __post_init__(self) -> None:
        if not all_of(np.isfinite(self.location)):
            raise InvalidParameterError("location", self.location.tolist(), "finite")
        if not all_of((self.scale > 0.0) & np.isfinite(self.scale)):
            raise InvalidParameterError("scale", self.scale.tolist(), "finite and > 0")
        if not all_of(self.degrees > _FINITE_VARIANCE):
            raise InvalidParameterError("degrees", self.degrees.tolist(), "> 2")

    @classmethod
    def observed(
        cls,
        units: ArrayLike,
        totals: ArrayLike,
        squared_deviations: ArrayLike,
        *,
        prior: NormalPrior | None = None,
    ) -> NormalPosterior:
        """Return the posteriors after the values of some units.

        Unless a prior is stated, each arm has the reference posterior given only its values,
        independent of the other arms: its location is the mean, its scale the standard error, and
        with four and more units its intervals are those of the t test. Fewer have three degrees of
        freedom, so that the mean has a variance. While all values of an arm are equal, as after one
        unit, they are taken for one that deviates by its size, beside three units that were
        expected to; equal zeros by as much as the values of all arms, and so do arms without a
        unit. So no unit of another arm moves a mean, or the width of values that differ.

        Args:
            units: Units; shape (n_arms,), >= 0.
            totals: Sums of their values; shape (n_arms,).
            squared_deviations: Sums of squared deviations from the arm's own mean; shape
                (n_arms,), >= 0.
            prior: Prior of the values of every arm, if one is stated.

        Source: Gelman et al., section 3.2, for the reference posterior; Murphy (2007), "Conjugate
            Bayesian analysis of the Gaussian distribution", equations 85 to 89 and 110, for a
            stated prior.

        Examples:
            >>> NormalPosterior.observed([0, 0], [0, 0], [0, 0]).degrees
            array([3., 3.])
            >>> NormalPosterior.observed([5], [10], [8]).scale  # the root of 8 / 4 / 5
            array([0.63245553])
        """
        n = np.asarray(units, dtype=np.float64)
        total = np.asarray(totals, dtype=np.float64)
        deviations = np.asarray(squared_deviations, dtype=np.float64)
        for name, values in (("units", n), ("squared_deviations", deviations)):
            if not all_of(values >= 0.0):
                raise InvalidParameterError(name, values.tolist(), ">= 0")
        if prior is None:
            return cls._by_reference(n, total, deviations)
        means = np.where(n > 0.0, total / np.where(n > 0.0, n, 1.0), prior.mean)
        between = n * (means - prior.mean) ** 2
        weight = prior.units + n
        degrees = prior.degrees + n
        sum_of_squares = (
            prior.degrees * prior.variance + deviations + between * (prior.units / weight)
        )
        location = (prior.units * prior.mean + total) / weight
        return cls(
            location=location,
            # A mean of which all digits are certain is certain to as many as a float has.
            scale=np.maximum(np.sqrt(sum_of_squares / degrees / weight), NARROWEST * abs(location)),
            degrees=degrees,
        )

    @classmethod
    def _by_reference(
        cls, n: FloatArray, total: FloatArray, deviations: FloatArray
    ) -> NormalPosterior:
        seen = n > 0.0
        units = np.where(seen, n, 1.0)
        own = total / units
        # What all arms together say is asked where an arm has no units, or values that cancel.
        is_alone = all_of(seen & (own != 0.0))
        together = _NOT_ASKED if is_alone else NormalPrior.pooled(n, total, deviations)
        location = np.where(seen, own, together.mean)
        variance = deviations / np.maximum(n - 1.0, 1.0)
        expected = np.where(location == 0.0, together.variance, location * location)
        expected = np.maximum(np.where(seen, expected, together.variance), SMALLEST_VARIANCE)
        is_equal = deviations < SMALLEST_VARIANCE * units
        expected *= PRIOR_DEGREES / (PRIOR_DEGREES + n)
        variance = np.where(is_equal, expected, variance)
        return cls(
            location=location,
            # A mean of which all digits are certain is certain to as many as a float has.
            scale=np.maximum(np.sqrt(variance / units), NARROWEST * abs(location)),
            degrees=np.maximum(n - 1.0, PRIOR_DEGREES),
        )

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Parameters by name."""
        return {"location": self.location, "scale": self.scale, "degrees": self.degrees}

    @property
    def means(self) -> FloatArray:
        """Posterior means."""
        return self.location

    def take(self, arms: Arms) -> NormalPosterior:
        """Return the posteriors of some arms."""
        return NormalPosterior(self.location[arms], self.scale[arms], self.degrees[arms])

    def joined(self, others: Sequence[NormalPosterior]) -> NormalPosterior:
        """Return the posteriors of these arms, then those of the arms of others."""
        arms = self, *others
        return NormalPosterior(
            np.concatenate([each.location for each in arms]),
            np.concatenate([each.scale for each in arms]),
            np.concatenate([each.degrees for each in arms]),
        )

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every mean at `probability`."""
        quantiles: FloatArray = self.location + self.scale * special.stdtrit(
            self.degrees, probability
        )
        return quantiles

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the means at which the density has fallen by `_DEPTH` e-folds."""
        reach = self.scale * np.sqrt(self.degrees * np.expm1(2.0 * _DEPTH / (self.degrees + 1.0)))
        return self.location - reach, self.location + reach

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """Return the locations and scales."""
        return self.location, self.scale

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities of the means."""
        degrees, scale = self.degrees[:, None], self.scale[:, None]
        z = (coordinates - self.location[:, None]) / scale
        # Gamma(v/2 + 1/2) / Gamma(v/2) as a Pochhammer symbol: gammaln would lose digits at 1e9.
        peak = special.poch(degrees / 2.0, 0.5) / (np.sqrt(degrees * np.pi) * scale)
        density: FloatArray = peak * np.exp(-(degrees + 1.0) / 2.0 * np.log1p(z * z / degrees))
        return density

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Return the coordinates: they are the means."""
        return coordinates

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Return the means: they are the coordinates."""
        return values

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return two scales, and more in the tails, where a t density is a power law."""
        location, scale = self.location[:, None], self.scale[:, None]
        nearest = (np.clip(location, left, right) - location) / scale
        return _SCALES_PER_PANEL * scale * np.sqrt(1.0 + nearest * nearest / self.degrees[:, None])


_NOT_ASKED = NormalPrior(mean=0.0, variance=1.0)


def _prior_variance(mean: float, variance: float) -> float:
    if variance >= SMALLEST_VARIANCE:
        return variance
    return max(mean * mean, SMALLEST_VARIANCE) if mean else 1.0
