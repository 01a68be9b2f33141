"""Posterior of a success probability: Beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of, any_of
from streams.stats.numerics.stirling import stirling_correction
from streams.stats.posterior_parameters import PosteriorFamily
from streams.stats.posteriors.base import Arms

# The density falls by exp(-28) from its peak to the end of the support. The logit of a Beta
# variable has a log-concave density, so the mass beyond is below exp(-28) = 7e-13 of its side.
_DEPTH = 28.0
_LIMIT_SIZE, _NORMAL_SIZE = 1e12, 1e8
_PLAIN_LEAST, _PLAIN_SIZE = 0.5, 1e7
_QUANTILE_TOLERANCE = 1e-12  # of a deviation
_MAX_HALVINGS = 100
_DEPTH_TOLERANCE = 0.1  # of the depth before the last step, after which Newton misses by its square
_NEAR = 500.0  # its exponential is a machine number
_MAX_NEWTON_STEPS = 64  # six do; stopping early is safe
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

    family: ClassVar[PosteriorFamily] = PosteriorFamily.BETA

    alpha: FloatArray
    beta: FloatArray

    def __post_init__(self) -> None:
        for name, values in (("alpha", self.alpha), ("beta", self.beta)):
            if not all_of((values > 0.0) & np.isfinite(values)):
                raise InvalidParameterError(name, values.tolist(), "finite and > 0")

    @classmethod
    def observed(
        cls,
        successes: ArrayLike,
        failures: ArrayLike,
        *,
        prior_alpha: float | FloatArray = 1.0,
        prior_beta: float | FloatArray = 1.0,
    ) -> BetaPosterior:
        """Return the posteriors after units with and without success.

        Args:
            successes: Units with a success; shape (n_arms,), >= 0.
            failures: Units without; shape (n_arms,), >= 0.
            prior_alpha: Pseudo-successes of the prior, > 0; shape (n_arms,) or one for all.
            prior_beta: Pseudo-failures of the prior, > 0; likewise.

        Examples:
            >>> BetaPosterior.observed([3], [1]).means
            array([0.66666667])
        """
        counts = np.asarray(successes, dtype=np.float64), np.asarray(failures, dtype=np.float64)
        for name, values in zip(("successes", "failures"), counts, strict=True):
            if not all_of(values >= 0.0):
                raise InvalidParameterError(name, values.tolist(), ">= 0")
        return cls(prior_alpha + counts[0], prior_beta + counts[1])

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Parameters by name."""
        return {"alpha": self.alpha, "beta": self.beta}

    @property
    def means(self) -> FloatArray:
        """Posterior means alpha / (alpha + beta)."""
        return self.alpha / (self.alpha + self.beta)

    def take(self, arms: Arms) -> BetaPosterior:
        """Return the posteriors of some arms."""
        return BetaPosterior(self.alpha[arms], self.beta[arms])

    def joined(self, others: Sequence[BetaPosterior]) -> BetaPosterior:
        """Return the posteriors of these arms, then those of the arms of others."""
        arms = self, *others
        return BetaPosterior(
            np.concatenate([each.alpha for each in arms]),
            np.concatenate([each.beta for each in arms]),
        )

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every arm at `probability`."""
        quantiles: FloatArray = special.betaincinv(self.alpha, self.beta, probability)
        is_plain = self._is_plain
        if not all_of(is_plain):
            logits = self.logit_quantiles(probability)
            quantiles = np.where(is_plain, quantiles, special.expit(logits))
        return quantiles

    def logit_quantiles(self, probability: float) -> FloatArray:
        """Return the logits of the quantiles, which stay finite where a probability rounds to 1."""
        plain = self._is_plain
        logits = np.empty_like(self.alpha)
        logits[plain] = special.logit(
            special.betaincinv(self.alpha[plain], self.beta[plain], probability)
        )
        if not all_of(plain):
            logits[~plain] = self.take(~plain)._solved(probability)  # noqa: SLF001 - same class
        return logits

    def _solved(self, probability: float) -> FloatArray:
        """Return the same without the inverse of SciPy, in at most `_MAX_HALVINGS` steps.

        That one takes seconds for some large parameters, and misses for others: at 1,000 successes
        among 1e8 units it gives a probability of 1 for one of 2.5 %. The function itself is right,
        so Newton inverts it within bounds that close in. Beyond `_LIMIT_SIZE` of the
        one parameter the limits do: Beta(a, b) is Gamma(a) / b, and the logit is normal if the
        other one is beyond `_NORMAL_SIZE`. Either errs by 1e-4 of a deviation at most.
        """
        center, deviation = self.modes_and_scales()
        logits: FloatArray = center + deviation * special.ndtri(probability)
        lower, upper = self.support()
        least, most = np.minimum(self.alpha, self.beta), np.maximum(self.alpha, self.beta)
        is_alpha = self.alpha <= self.beta
        is_normal = (most > _LIMIT_SIZE) & (least > _NORMAL_SIZE)
        of_gamma = (most > _LIMIT_SIZE) & ~is_normal
        with np.errstate(divide="ignore"):
            tail = np.where(is_alpha, probability, 1.0 - probability)
            log_odds = np.log(special.gammaincinv(least, tail)) - np.log(most)
        logits = np.where(of_gamma, np.where(is_alpha, log_odds, -log_odds), logits)
        logits = np.where(is_normal, logits, np.clip(logits, lower, upper))
        rows = np.flatnonzero(most <= _LIMIT_SIZE)
        for _ in range(_MAX_HALVINGS):
            if not len(rows):
                break
            open_ones, x = self.take(rows), logits[rows]
            missed = open_ones._below(x) - probability  # noqa: SLF001 - same class
            is_low = missed < 0.0
            lower[rows], upper[rows] = (
                np.where(is_low, x, lower[rows]),
                np.where(is_low, upper[rows], x),
            )
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                newton = x - missed / open_ones.density(x[:, None])[:, 0]
            is_within = (lower[rows] < newton) & (newton < upper[rows])
            logits[rows] = np.where(is_within, newton, (lower[rows] + upper[rows]) / 2.0)
            is_far = np.abs(logits[rows] - x) > _QUANTILE_TOLERANCE * deviation[rows]
            rows = rows[is_far]
        return logits

    def _below(self, logits: FloatArray) -> FloatArray:
        """Return P(logit of the mean <= logits), of each arm its own."""
        below: FloatArray = np.where(
            logits <= 0.0,
            special.betainc(self.alpha, self.beta, special.expit(logits)),
            special.betaincc(self.beta, self.alpha, special.expit(-logits)),
        )
        return below

    @property
    def _is_plain(self) -> NDArray[np.bool_]:
        """Whether the inverse of SciPy is known to be right and fast."""
        return (np.minimum(self.alpha, self.beta) >= _PLAIN_LEAST) & (
            self.alpha + self.beta <= _PLAIN_SIZE
        )

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the logits between which all but 1e-12 of the mass lies."""
        mode, _ = self.modes_and_scales()
        left, right = _reach(np.array([self.alpha, self.beta]), np.array([self.beta, self.alpha]))
        return mode - left, mode + right

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
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
        inside = np.minimum(np.maximum(values, 0.0), 1.0)
        with np.errstate(divide="ignore"):  # two thirds of the time of SciPy's `logit`
            logits: FloatArray = np.log(inside / (1.0 - inside))
        return logits

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return two local standard deviations, and at most the width of 16 e-folds."""
        size = (self.alpha + self.beta)[:, None]
        nearest = np.minimum(np.maximum(0.0, left), right)  # where x (1 - x) is largest
        curvature = np.maximum(size, 1.0) * (special.expit(nearest) * special.expit(-nearest))
        alpha, beta = self.alpha[:, None], self.beta[:, None]
        ends = np.array([left, right]).reshape(2, -1, left.shape[-1])
        # alpha - size * x, without the digits that x near 1 would lose
        slopes = np.abs(alpha * special.expit(-ends) - beta * special.expit(ends))
        slope = np.maximum(slopes[0], slopes[1])
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
    share, other = alpha / size, beta / size
    reach: FloatArray = np.minimum(
        (_DEPTH + size * np.log1p(alpha / beta)) / alpha,
        np.sqrt(2.0 * _DEPTH * (1.0 / alpha + 1.0 / beta)),
    )
    is_open, is_rarer = np.ones(reach.shape, np.bool_), share < other
    for _ in range(_MAX_NEWTON_STEPS):
        # log(other + share e^-reach) + reach, and the two forms of the fall: the smaller one of
        # share and other has the digits.
        is_near = reach < _NEAR
        rise = np.log1p(other * np.expm1(np.minimum(reach, _NEAR)))
        if not all_of(is_near):
            far = np.logaddexp(np.log(other) + reach, np.log(share))
            rise = np.where(is_near, rise, far)
        with np.errstate(divide="ignore", invalid="ignore"):
            fall = np.where(
                is_rarer,
                alpha * reach + size * np.log1p(share * np.expm1(-reach)),
                size * rise - beta * reach,
            )
            step = (fall - _DEPTH) / (alpha * -np.expm1(-rise))
        # No tangent leads beyond the peak; what rounding makes of one there is 0.
        step = np.where(is_open & np.isfinite(step) & (step < reach), step, 0.0)
        reach = reach - step
        # Not by the length of the step: where the density falls as the exponential of an
        # exponential, all steps are as short. Each arm separately, independent of the other arms.
        is_open &= (step != 0.0) & (fall > (1.0 + _DEPTH_TOLERANCE) * _DEPTH)
        if not any_of(is_open):
            break
    return reach


def _log_mix(share: FloatArray, distance: FloatArray) -> FloatArray:
    """Return log(1 - share + share e^distance) without overflow or cancellation."""
    # As long as the exponential is a machine number the first form keeps its digits; the second one
    # loses those of a share of 1e-18, times a size of 1e18.
    is_near = distance < _NEAR
    mixed: FloatArray = np.log1p(share * np.expm1(np.minimum(distance, _NEAR)))
    if all_of(is_near):
        return mixed
    far = distance + np.log(share + (1.0 - share) * np.exp(-np.maximum(distance, 0.0)))
    return np.where(is_near, mixed, far)
