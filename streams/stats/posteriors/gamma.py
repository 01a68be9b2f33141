"""Posterior of events per unit: Gamma, for Poisson or overdispersed counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of, any_of
from streams.stats.numerics.stirling import stirling_correction
from streams.stats.posterior_parameters import PosteriorFamily
from streams.stats.posteriors.base import LARGEST_SIZE, Arms
from streams.stats.posteriors.log_coordinates import LogCoordinates

PRIOR_EVENTS = 1.0
"""Events that a prior of a rate weighs of which only the units are stated."""

_REFERENCE_EVENTS = 0.5

_DEPTH = 28.0  # the log-density of the log-rate is concave: beyond lie 7e-13 of either side's mass
_SUPPORT_TOLERANCE = 0.01
_MAX_NEWTON_STEPS = 64  # six do; stopping early is safe
_STANDARD_DEVIATIONS_PER_PANEL = 2.0
_EFOLDS_PER_PANEL = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class GammaPosterior(LogCoordinates):
    """Posteriors of the rates of several arms.

    The coordinate is the logarithm of the rate, where the density is smooth and log-concave for all
    parameters.

    Attributes:
        shape: Prior plus observed events, in pseudo-events; shape (n_arms,), finite, > 0.
        rate: Prior plus observed units, in pseudo-units; shape (n_arms,), finite, > 0.

    Raises:
        InvalidParameterError: a parameter is outside its domain.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6.
    """

    family: ClassVar[PosteriorFamily] = PosteriorFamily.GAMMA

    shape: FloatArray
    rate: FloatArray

    def __post_init__(self) -> None:
        for name, values in (("shape", self.shape), ("rate", self.rate)):
            if not all_of((values > 0.0) & np.isfinite(values)):
                raise InvalidParameterError(name, values.tolist(), "finite and > 0")

    @classmethod
    def observed(
        cls,
        events: ArrayLike,
        units: ArrayLike,
        *,
        prior_events: float | None = None,
        prior_units: float | None = None,
        dispersion: ArrayLike = 1.0,
    ) -> GammaPosterior:
        """Return the posteriors after the events of some units.

        Poisson counts have a variance equal to their mean. Counts by user seldom do: users who
        click often click again. With a dispersion d = variance / mean, n units are equivalent to n
        / d Poisson units (quasi-likelihood), which are added to the prior.

        Args:
            events: Sums of the counts; shape (n_arms,), >= 0.
            units: Units; shape (n_arms,), >= 0.
            prior_events: Pseudo-events of the prior, > 0; 1 if None and the units are stated.
            prior_units: Pseudo-units of the prior, > 0; if None and the events are stated, those
                that put its mean at the mean of all arms, or 1 per event before the first event.
                Without either each arm has the reference prior, half an event in no unit, whatever
                the others are; one without a unit is taken for one event at the mean of all.
            dispersion: Variance of a count over its mean, > 0; shape (n_arms,) or one for all.

        Source: McCullagh and Nelder, Generalized Linear Models, 2nd ed., section 9.2, for the
            quasi-likelihood; Jeffreys (1946) for the reference prior, of which the intervals of a
            rate hold on either side on average.

        Examples:
            >>> GammaPosterior.observed([7], [4], prior_units=1.0).means
            array([1.6])
            >>> GammaPosterior.observed([7, 0], [5, 5]).means
            array([1.5, 0.1])
        """
        counts, exposure = (np.asarray(x, dtype=np.float64) for x in (events, units))
        spread = np.asarray(dispersion, dtype=np.float64)
        for name, values in (("events", counts), ("units", exposure)):
            if not all_of(values >= 0.0):
                raise InvalidParameterError(name, values.tolist(), ">= 0")
        if not all_of(spread > 0.0):
            raise InvalidParameterError("dispersion", spread.tolist(), "> 0")
        is_reference = prior_events is None and prior_units is None
        prior_events = PRIOR_EVENTS if prior_events is None else prior_events
        if prior_units is None:
            total = float(counts.sum())
            prior_units = prior_events * (float(exposure.sum()) / total if total else 1.0)
        seen = is_reference & (exposure > 0.0)
        spread = np.maximum(spread, counts / LARGEST_SIZE)
        return cls(
            np.where(seen, _REFERENCE_EVENTS, prior_events) + counts / spread,
            np.where(seen, 0.0, prior_units) + exposure / spread,
        )

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Parameters by name."""
        return {"shape": self.shape, "rate": self.rate}

    @property
    def means(self) -> FloatArray:
        """Posterior means shape / rate."""
        return self.shape / self.rate

    def take(self, arms: Arms) -> GammaPosterior:
        """Return the posteriors of some arms."""
        return GammaPosterior(self.shape[arms], self.rate[arms])

    def joined(self, others: Sequence[GammaPosterior]) -> GammaPosterior:
        """Return the posteriors of these arms, then those of the arms of others."""
        arms = self, *others
        return GammaPosterior(
            np.concatenate([each.shape for each in arms]),
            np.concatenate([each.rate for each in arms]),
        )

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every rate at `probability`."""
        quantiles: FloatArray = special.gammaincinv(self.shape, probability) / self.rate
        return quantiles

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the log-rates between which all but 1e-12 of the mass lies."""
        mode, _ = self.modes_and_scales()
        left, right = _reach(_DEPTH / self.shape)
        return mode - left, mode + right

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """Return the log-rates at the peaks, and the widths there."""
        return np.log(self.shape / self.rate), 1.0 / np.sqrt(self.shape)

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities of the log-rates."""
        shape = self.shape[:, None]
        distance = coordinates - np.log(shape / self.rate[:, None])
        # Relative to the peak, whose height is that of Stirling's formula but for a correction.
        peak = 0.5 * np.log(shape / (2.0 * np.pi)) - stirling_correction(shape)
        with np.errstate(over="ignore"):  # e^800 and more: the density is 0 there
            fall = shape * (distance - np.expm1(distance))
        density: FloatArray = np.exp(fall + peak)
        return density

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return two local standard deviations, and at most the width of 16 e-folds."""
        shape, rate = self.shape[:, None], self.rate[:, None]
        with np.errstate(over="ignore"):
            ends = rate * np.exp(left), rate * np.exp(right)
        slope = np.maximum(*(np.abs(shape - end) for end in ends))
        width: FloatArray = np.minimum(
            _STANDARD_DEVIATIONS_PER_PANEL / np.sqrt(np.maximum(ends[1], 1.0)),
            _EFOLDS_PER_PANEL / np.maximum(slope, 1.0),
        )
        return width


def _reach(depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how far left and right of its peak the log-density has fallen by depth times shape.

    Newton from outside on convex functions: every iterate is still outside, so stopping early is
    safe.
    """
    # t + e^-t - 1 >= t^2 / (2 + t), and >= t - 1
    left = np.minimum((depth + np.sqrt(depth * (depth + 8.0))) / 2.0, depth + 1.0)
    right = np.minimum(np.sqrt(2.0 * depth), np.log1p(2.0 * depth + 0.4))  # e^t - 1 - t >= t^2 / 2
    is_open = np.ones(depth.shape, np.bool_)
    for _ in range(_MAX_NEWTON_STEPS):
        falls, rises = np.expm1(-left), np.expm1(right)
        reach = np.array([left, right])
        step = np.array([(left + falls - depth) / -falls, (rises - right - depth) / rises])
        # None where rounding has made it lead beyond the peak.
        step = np.where(is_open & np.isfinite(step) & (step < reach), step, 0.0)
        left, right = reach = reach - step
        # Each arm separately, independent of the other arms.
        is_open &= (np.abs(step) > _SUPPORT_TOLERANCE * reach).any(axis=0)
        if not any_of(is_open):
            break
    return left, right
