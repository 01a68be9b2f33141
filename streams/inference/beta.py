"""Posterior of a success probability: Beta."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from streams.domain.errors import InvalidParameterError
from streams.inference.posterior import Arms, FloatArray
from streams.inference.stirling import stirling_correction

# The density falls by exp(-28) from its peak to the end of the support. The logit of a Beta
# variable has a log-concave density, so the mass beyond is below exp(-28) = 7e-13 of its side.
_DEPTH = 28.0
_SUPPORT_TOLERANCE = 0.01
_STANDARD_DEVIATIONS_PER_PANEL = 2.0
_EFOLDS_PER_PANEL = 16.0  # 12 nodes integrate exp(16 t) on a unit panel to 1e-9 of its peak


@dataclass(frozen=True, slots=True, eq=False)
class BetaPosterior:
    """Posteriors of the success probabilities of several arms.

    The coordinate is the logit, where the density x^alpha (1-x)^beta / B(alpha, beta) is smooth and
    log-concave for all parameters, however small or large.

    Attributes:
        alpha: Prior plus observed successes, in pseudo-units; shape (n_arms,), finite, > 0.
        beta: Prior plus observed failures, in pseudo-units; shape (n_arms,), finite, > 0.

    Raises:
        InvalidParameterError: a parameter is outside its domain.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4.
    """

    alpha: FloatArray
    beta: FloatArray

    def __post_init__(self) -> None:
        for name, values in (("alpha", self.alpha), ("beta", self.beta)):
            if not ((values > 0.0) & np.isfinite(values)).all():
                raise InvalidParameterError(name, values.tolist(), "finite and > 0")

    @classmethod
    def observed(
        cls,
        successes: ArrayLike,
        failures: ArrayLike,
        *,
        prior_alpha: float = 1.0,
        prior_beta: float = 1.0,
    ) -> BetaPosterior:
        """Return the posteriors after units with and without success.

        Args:
            successes: Units with a success; shape (n_arms,), >= 0.
            failures: Units without; shape (n_arms,), >= 0.
            prior_alpha: Pseudo-successes of the prior, > 0.
            prior_beta: Pseudo-failures of the prior, > 0.

        Examples:
            >>> BetaPosterior.observed([3], [1]).means
            array([0.66666667])
        """
        counts = np.asarray(successes, dtype=np.float64), np.asarray(failures, dtype=np.float64)
        for name, values in zip(("successes", "failures"), counts, strict=True):
            if not (values >= 0.0).all():
                raise InvalidParameterError(name, values.tolist(), ">= 0")
        return cls(prior_alpha + counts[0], prior_beta + counts[1])

    @property
    def means(self) -> FloatArray:
        """Posterior means alpha / (alpha + beta)."""
        return self.alpha / (self.alpha + self.beta)

    def take(self, arms: Arms) -> BetaPosterior:
        """Return the posteriors of some arms."""
        return BetaPosterior(self.alpha[arms], self.beta[arms])

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every arm at `probability`."""
        quantiles: FloatArray = special.betaincinv(self.alpha, self.beta, probability)
        return quantiles

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the logits between which all but 1e-12 of the mass lies."""
        mode, _ = self.bells()
        left, right = _reach(np.array([self.alpha, self.beta]), np.array([self.beta, self.alpha]))
        return mode - left, mode + right

    def bells(self) -> tuple[FloatArray, FloatArray]:
        """Return the logits at the peaks, and the widths there."""
        return np.log(self.alpha / self.beta), np.sqrt(1.0 / self.alpha + 1.0 / self.beta)

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities of the logits."""
        alpha, beta = self.alpha[:, None], self.beta[:, None]
        size = alpha + beta
        # Relative to the peak, and the peak by Stirling's series: the plain form subtracts numbers
        # of the size of alpha and would lose six digits at 1e9 units.
        # The rarer outcome carries it, as its share of the size is the one with exact digits.
        rarer = np.minimum(alpha, beta)
        distance = np.where(alpha <= beta, 1.0, -1.0) * (coordinates - np.log(alpha / beta))
        fall = rarer * distance - size * _log_mix(rarer / size, distance)
        peak = 0.5 * np.log(alpha / size * beta / (2.0 * np.pi))
        of_size, of_alpha, of_beta = stirling_correction(np.array([size, alpha, beta]))
        correction = of_size - of_alpha - of_beta
        density: FloatArray = np.exp(fall + peak + correction)
        return density

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Return the probabilities of these logits."""
        probabilities: FloatArray = special.expit(coordinates)
        return probabilities

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Return the logits of these probabilities; infinite at and beyond 0 and 1."""
        logits: FloatArray = special.logit(np.minimum(np.maximum(values, 0.0), 1.0))
        return logits

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return two local standard deviations, and at most the width of 16 e-folds."""
        size = (self.alpha + self.beta)[:, None]
        nearest = special.expit(np.clip(0.0, left, right))  # where x (1 - x) is largest
        curvature = np.maximum(size, 1.0) * (nearest * (1.0 - nearest))
        ends = (special.expit(left), special.expit(right))
        slope = np.maximum(*(np.abs(self.alpha[:, None] - size * end) for end in ends))
        with np.errstate(divide="ignore"):
            width: FloatArray = np.minimum(
                _STANDARD_DEVIATIONS_PER_PANEL / np.sqrt(curvature), _EFOLDS_PER_PANEL / slope
            )
        return width


def _reach(alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Return how far left of its peak the log-density of the logit has fallen by `_DEPTH`.

    Newton on a concave function: a tangent lies above it, so every iterate is outside, and stopping
    early is safe. It begins where a bell of the same bend has fallen as far, or where the straight
    tail has, whichever is nearer.
    """
    size = alpha + beta
    share = alpha / size
    reach: FloatArray = np.minimum(
        (_DEPTH + size * np.log1p(alpha / beta)) / alpha,
        np.sqrt(2.0 * _DEPTH * (1.0 / alpha + 1.0 / beta)),
    )
    while True:
        log_mix = np.log1p(share * np.expm1(-reach))
        fall = alpha * reach + size * log_mix - _DEPTH
        slope = alpha - alpha * np.exp(-reach - log_mix)
        step = fall / slope
        reach = reach - step
        if (np.abs(step) <= _SUPPORT_TOLERANCE * reach).all():
            return reach


def _log_mix(share: FloatArray, distance: FloatArray) -> FloatArray:
    """Return log(1 - share + share e^distance) without overflow or cancellation."""
    small = np.minimum(distance, 1.0)
    mixed: FloatArray = np.where(
        distance < 1.0,
        np.log1p(share * np.expm1(small)),
        distance + np.log(share + (1.0 - share) * np.exp(-np.maximum(distance, 0.0))),
    )
    return mixed
