"""Posterior of revenue per unit: few units have a value, and these are very unequal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of, any_of
from streams.stats.posterior_parameters import PosteriorFamily
from streams.stats.posteriors.base import LARGEST_SIZE, Arms
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.log_coordinates import LogCoordinates
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.sample import Sample

_PRIOR_CONVERSIONS = 1.0
_REFERENCE = 0.5  # pseudo-units of either kind
_FINITE_VARIANCE = 2.0  # an inverse-Gamma variable has a variance above this shape
_SMALLEST_VALUE_SHAPE = 2.0 + 2.0**-20  # of a variance a million times the mean squared
_SMALLEST_SHAPE = 1e-3  # of a deviation thirty times the mean
_NOTHING_SEEN = NormalPrior(mean=1.0, variance=1.0)


@dataclass(frozen=True, slots=True, eq=False)
class RevenuePosterior(LogCoordinates):
    """Posteriors of share with a value times mean of a value, of several arms.

    The tallies hold the units, the units with a value, the sum of the values and the sum of their
    squares. A log-normal model, and a Gamma model with a free shape, need sums of logarithms, so
    they cannot be had from tallies; and an exponential one is a Gamma model whose spread is assumed
    and not looked at. Mean and
    variance of the posterior of the share (Beta) and of the mean of a value (Normal-Inverse-Gamma),
    so mean and variance of their product.

    The shape in between is that of a Gamma over a Gamma variable: the share has the Gamma, and the
    mean of a value the inverse-Gamma distribution, with those means and variances. It is exact for
    rare Gamma-distributed values of known spread, lies above 0 and leans to the right, as sums of
    few purchases do, while a t distribution leans nowhere and promises negative revenue. Their
    product is a scaled beta-prime variable, whose logarithm has the density of the logit of a
    Beta variable, so it has a closed form and costs what a Beta posterior costs.

    Of log-normal purchases (sigma 1) by 2 % of the units, 95 % intervals covered the mean in 90.0 %
    of 4,000 samples with 10 purchases, 91.7 % with 30 and 94.2 % with 100; the t intervals of all
    values, which are as wide, in 83.7 %, 89.1 % and 92.7 %.

    The coordinate is the logarithm of the mean.

    Attributes:
        shape: A Beta posterior whose odds, times the scale, are the mean; its beta is > 2.
        log_scale: Logarithms of the scales; shape (n_arms,), finite.

    Raises:
        InvalidParameterError: a parameter is outside its domain.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, 2nd ed., chapter
        27, for the ratio of Gamma variables.
    """

    family: ClassVar[PosteriorFamily] = PosteriorFamily.BETA_PRIME

    shape: BetaPosterior
    log_scale: FloatArray

    def __post_init__(self) -> None:
        if not all_of(np.isfinite(self.log_scale)):
            raise InvalidParameterError("log_scale", self.log_scale.tolist(), "finite")
        if not all_of(self.shape.beta > _FINITE_VARIANCE):
            raise InvalidParameterError("shape", self.shape.beta.tolist(), "> 2")

    @classmethod
    def observed(
        cls,
        samples: Sequence[Sample],
        *,
        prior_alpha: float | None = None,
        prior_beta: float | None = None,
        prior: NormalPrior | None = None,
    ) -> RevenuePosterior:
        """Return the posteriors after the values of some units.

        Args:
            samples: The arms; their totals are > 0 if they have units with a value, or all 0.
            prior_alpha, prior_beta: Pseudo-units with and without a value, > 0. If neither is
                stated, each arm has half a unit of either kind (Jeffreys), whatever the others
                are. Of one alone, and of an arm without a unit, what is missing is made of the
                share of all arms, if that is below a half: one unit with a value.
            prior: Prior of the values. Unless stated, each arm has the reference posterior given
                only its values; an arm without values has that of all arms: see
                `NormalPosterior.observed`.

        Examples:
            >>> unseen = Sample(0, 0, 0, 0, 0)
            >>> RevenuePosterior.observed([unseen, unseen]).means
            array([0.5, 0.5])
        """
        units, with_value, totals, deviations = np.array(
            [(s.units, s.units_with_value, s.total, s.value_squared_deviations) for s in samples],
            dtype=np.float64,
        ).T
        everyone, buyers = float(units.sum()), float(with_value.sum())
        is_reference = prior_alpha is None and prior_beta is None
        if prior_alpha is None:
            prior_alpha = _PRIOR_CONVERSIONS
        if prior_beta is None:
            failures_each = everyone / buyers - 1.0 if buyers else 1.0
            prior_beta = prior_alpha * max(1.0, failures_each)
        seen = is_reference & (units > 0.0)
        shares = BetaPosterior.observed(
            with_value,
            units - with_value,
            prior_alpha=np.where(seen, _REFERENCE, prior_alpha),
            prior_beta=np.where(seen, _REFERENCE, prior_beta),
        )
        if prior is None and not any_of(totals):
            prior = _NOTHING_SEEN
        if any_of(totals < 0.0):
            raise InvalidParameterError("samples", totals.tolist(), "of values >= 0")
        # A sum of 0 says nothing about the amounts paid.
        is_known = totals > 0.0
        values = NormalPosterior.observed(
            is_known * with_value, totals, is_known * deviations, prior=prior
        )
        return cls._of_moments(shares, values)

    @classmethod
    def _of_moments(cls, shares: BetaPosterior, values: NormalPosterior) -> RevenuePosterior:
        # mean^2 / variance of a Beta variable is a (a + b + 1) / b, and of a Gamma one its shape.
        share_shape = shares.alpha * (shares.alpha + shares.beta + 1.0) / shares.beta
        # mean^2 / variance of an inverse-Gamma variable is its shape less 2; a t distribution has
        # the variance scale^2 degrees / (degrees - 2).
        precision = (values.location / values.scale) ** 2
        value_shape = 2.0 + precision * (values.degrees - 2.0) / values.degrees
        # The mean below is exact for every shape; only the width is that of the nearest one that
        # can be integrated. Values of either sign whose sum nearly cancels come to the lower end.
        share_shape = np.minimum(np.maximum(share_shape, _SMALLEST_SHAPE), LARGEST_SIZE)
        value_shape = np.minimum(np.maximum(value_shape, _SMALLEST_VALUE_SHAPE), LARGEST_SIZE)
        means = shares.means * values.location
        return cls(
            BetaPosterior(share_shape, value_shape),
            np.log(means * (value_shape - 1.0) / share_shape),
        )

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Parameters by name."""
        return {**self.shape.parameters, "scale": np.exp(self.log_scale)}

    @property
    def means(self) -> FloatArray:
        """Posterior means of the revenue per unit."""
        means: FloatArray = np.exp(self.log_scale) * self.shape.alpha / (self.shape.beta - 1.0)
        return means

    def take(self, arms: Arms) -> RevenuePosterior:
        """Return the posteriors of some arms."""
        return RevenuePosterior(self.shape.take(arms), self.log_scale[arms])

    def joined(self, others: Sequence[RevenuePosterior]) -> RevenuePosterior:
        """Return the posteriors of these arms, then those of the arms of others."""
        return RevenuePosterior(
            self.shape.joined([each.shape for each in others]),
            np.concatenate([each.log_scale for each in (self, *others)]),
        )

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every mean at `probability`."""
        quantiles: FloatArray = np.exp(self.log_scale + self.shape.logit_quantiles(probability))
        return quantiles

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the logarithms between which all but 1e-12 of the mass lies."""
        lower, upper = self.shape.support()
        return self.log_scale + lower, self.log_scale + upper

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """Return the logarithms at the peaks, and the widths there."""
        peak, width = self.shape.modes_and_scales()
        return self.log_scale + peak, width

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities of the logarithms."""
        return self.shape.density(coordinates - self.log_scale[:, None])

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return the widths of panels of `shape`, whose coordinates differ by a shift."""
        scale = self.log_scale[:, None]
        return self.shape.smooth_width(left - scale, right - scale)
