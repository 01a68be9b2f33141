"""Off-policy estimators: the mean value per unit under a policy that did not assign the units.

All take columns with one row a unit, in the order of the log. Unit t was assigned variant a_t with
the known propensity p_t > 0 and has the value x_t; the *target* is the policy asked about, which
would have given variant a the share pi_t(a). Its *weight* is w_t = pi_t(a_t) / p_t. A *model* q
predicts values: q_t(a_t) for the variant assigned, and q_t(pi_t) = sum over a of pi_t(a) q_t(a).

Targets and models are *predictable*: those of unit t are made of what was known before it. Then
w_t x_t has, given the past, the mean value of the target, however the logging policy used the past,
and so has w_t x_t less anything of conditional mean zero. So the estimates by weights have no bias
at any number of units.

Intervals are asymptotic, by the central limit theorem for martingales: two-sided, for one look and
not for every time, and too narrow while few units carry the weight (`Diagnostics` tells). They need
the average conditional variance to settle, which it does under propensities with a floor.

Source: Dudik, Erhan, Langford and Li (2014), "Doubly robust policy evaluation and optimization",
    Statistical Science 29(4), section 3; Wang, Agarwal and Dudik (2017), "Optimal and adaptive
    off-policy evaluation in contextual bandits", section 3 (Switch-DR); Kong (1992), "A note on
    importance sampling using standardized weights" (effective sample size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.model.errors import InvalidParameterError

FloatArray = NDArray[np.float64]

LEVEL = 0.95
"""Level of every interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean value per unit, in units of the metric.

    Attributes:
        value: The estimate; NaN where nothing can be said.
        lower, upper: Ends of its asymptotic confidence interval; infinite where nothing is known.
    """

    value: float
    lower: float
    upper: float

    @classmethod
    def of(cls, value: float, standard_error: float, level: float = LEVEL) -> Estimate:
        """Return the estimate with the interval that a normal distribution gives.

        Args:
            value: The estimate.
            standard_error: Its standard error, >= 0, or infinite.
            level: Probability that the interval covers, in (0, 1).

        Raises:
            InvalidParameterError: `level` is outside (0, 1).

        Examples:
            >>> Estimate.of(1.0, 0.5).upper
            1.979981992270027
        """
        if not 0.0 < level < 1.0:
            raise InvalidParameterError("level", level, "in (0, 1)")
        radius = float(special.ndtri((1.0 + level) / 2.0)) * standard_error
        return cls(value, value - radius, value + radius)

    @property
    def is_known(self) -> bool:
        """Whether there is a number and an interval around it."""
        return math.isfinite(self.value) and math.isfinite(self.lower + self.upper)


UNKNOWN = Estimate(math.nan, -math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How far the weights can be trusted.

    Attributes:
        effective_units: Units of equal weight that would tell as much, (sum w)^2 / sum w^2.
        largest_weight: Largest weight of a unit.
        mean_weight: Mean weight. Its expectation is 1 if the logging policy could have chosen
            whatever the target chooses; below, the target asks for what was never tried.
    """

    effective_units: float
    largest_weight: float
    mean_weight: Estimate


def diagnose(weights: FloatArray, level: float = LEVEL) -> Diagnostics:
    """Return how far estimates with these weights can be trusted.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        level: Level of the interval of the mean weight, in (0, 1).

    Examples:
        >>> diagnose(np.array([3.0, 1.0])).effective_units
        1.6
    """
    squares = float(np.square(weights).sum())
    return Diagnostics(
        effective_units=float(weights.sum()) ** 2 / squares if squares else 0.0,
        largest_weight=float(weights.max()),
        mean_weight=mean(weights, level),
    )


def mean(increments: FloatArray, level: float = LEVEL) -> Estimate:
    """Return the mean of increments that each have, given the past, the mean asked for.

    Args:
        increments: Shape (n,), n >= 1.
        level: Level of the interval, in (0, 1).
    """
    n_units = len(increments)
    deviation = float(increments.std(ddof=1)) if n_units > 1 else math.inf
    return Estimate.of(float(increments.mean()), deviation / math.sqrt(n_units), level)


def ipw(weights: FloatArray, values: FloatArray, level: float = LEVEL) -> Estimate:
    """Return the estimate by inverse propensity weighting: the mean of w x.

    It has no bias, and a large variance where weights are large.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        level: Level of the interval, in (0, 1).
    """
    return mean(weights * values, level)


def snipw(weights: FloatArray, values: FloatArray, level: float = LEVEL) -> Estimate:
    """Return the self-normalised estimate: the sum of w x over the sum of w.

    Its bias falls as 1 / n. It stays within the range of the values, and does not change when the
    same is added to all of them. The interval is by the delta method.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        level: Level of the interval, in (0, 1).

    Returns:
        The estimate; `UNKNOWN` when no unit has a weight.
    """
    total = float(weights.sum())
    if total == 0.0:
        return UNKNOWN
    value = float((weights * values).sum()) / total
    influences = weights * (values - value) * (len(weights) / total)
    return Estimate.of(value, _standard_error(influences), level)


def dr(
    weights: FloatArray,
    values: FloatArray,
    of_assigned: FloatArray,
    of_target: FloatArray,
    level: float = LEVEL,
) -> Estimate:
    """Return the doubly robust estimate: the mean of q(pi) + w (x - q(a)).

    It has no bias whatever the model, and a better model makes the interval narrower.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        of_assigned: q_t(a_t); shape (n,).
        of_target: q_t(pi_t); shape (n,).
        level: Level of the interval, in (0, 1).
    """
    return mean(dr_increments(weights, values, of_assigned, of_target), level)


def dr_increments(
    weights: FloatArray, values: FloatArray, of_assigned: FloatArray, of_target: FloatArray
) -> FloatArray:
    """Return what `dr` is the mean of, for differences from what was earned; shape (n,)."""
    return of_target + weights * (values - of_assigned)


def switch_dr(
    weights: FloatArray,
    values: FloatArray,
    of_assigned: FloatArray,
    of_target: FloatArray,
    threshold: float,
    level: float = LEVEL,
) -> Estimate:
    """Return the doubly robust estimate that trusts the model alone where a weight is too large.

    Above the threshold it takes q(pi) without a correction. That bounds the variance and has a
    bias, which the interval does not know of.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        of_assigned: q_t(a_t); shape (n,).
        of_target: q_t(pi_t); shape (n,).
        threshold: Largest weight of a correction, >= 0.
        level: Level of the interval, in (0, 1).
    """
    kept = np.where(weights <= threshold, weights, 0.0)
    return mean(dr_increments(kept, values, of_assigned, of_target), level)


def dm(
    shares: FloatArray, means: FloatArray, standard_errors: FloatArray, level: float = LEVEL
) -> Estimate:
    """Return the estimate by the direct method: what a model of the variants' means says.

    It has the bias of the model: none for the means of variants whose rates do not drift. The
    interval takes the shares as given and the variants' errors as independent.

    Args:
        shares: Share of each variant under the target, mean over the units; shape (n_arms,).
        means: Mean value of each variant; NaN where it is not known; shape (n_arms,).
        standard_errors: Their standard errors; shape (n_arms,).
        level: Level of the interval, in (0, 1).

    Returns:
        The estimate; `UNKNOWN` when the target asks for a variant without a mean.
    """
    asked = shares > 0.0
    if np.isnan(means[asked]).any():
        return UNKNOWN
    value = float((shares[asked] * means[asked]).sum())
    variance = float(np.square(shares[asked] * standard_errors[asked]).sum())
    return Estimate.of(value, math.sqrt(variance), level)


def variant_means(
    variants: NDArray[np.int64], propensities: FloatArray, values: FloatArray, n_arms: int
) -> tuple[FloatArray, FloatArray]:
    """Return the mean value of each variant and its standard error, by weights 1 / p.

    They are `snipw` of the policies that choose one variant alone, so weights that moved do not
    bias them as they do plain means.

    Args:
        variants: a; shape (n,), in [0, n_arms).
        propensities: p; shape (n,), in (0, 1].
        values: x; shape (n,).
        n_arms: Number of variants.

    Returns:
        Means, NaN for a variant without units, and standard errors; shape (n_arms,) each.
    """
    weights = 1.0 / propensities
    sums = np.bincount(variants, weights, n_arms)
    totals = np.bincount(variants, weights * values, n_arms)
    means = np.divide(totals, sums, out=np.full(n_arms, math.nan), where=sums > 0.0)
    squares = np.bincount(variants, np.square(weights * (values - means[variants])), n_arms)
    errors = np.divide(np.sqrt(squares), sums, out=np.full(n_arms, math.inf), where=sums > 0.0)
    return means, errors


def _standard_error(influences: FloatArray) -> float:
    """Return the standard error of an estimate whose error is the mean of its influences."""
    n_units = len(influences)
    if n_units == 1:
        return math.inf
    return math.sqrt(float(np.square(influences).sum()) / (n_units - 1) / n_units)
