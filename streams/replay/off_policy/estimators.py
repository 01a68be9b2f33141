"""Off-policy estimators: the mean value per unit under a policy that did not assign the units.

All take columns with one row a unit, in the order of the log. Unit t was assigned variant a_t with
the known propensity p_t > 0 and has the value x_t; the *target* is the policy asked about, which
would have given variant a the share pi_t(a). Its *weight* is w_t = pi_t(a_t) / p_t. A *model* q
predicts values: q_t(a_t) for the variant assigned, and q_t(pi_t) = sum over a of pi_t(a) q_t(a).

Targets and models are *predictable*: those of unit t are made of what was known before it. Then
w_t x_t has, given the past, the mean value of the target, however the logging policy used the past,
and so has w_t x_t less anything of conditional mean zero. So the estimates by weights have no bias
at any number of units.

Intervals are two-sided, for one look and not for every time (`intervals`). They need the average
conditional variance to settle, which it does under propensities with a floor.

Source: Dudik, Erhan, Langford and Li (2014), "Doubly robust policy evaluation and optimization",
    Statistical Science 29(4), section 3; Wang, Agarwal and Dudik (2017), "Optimal and adaptive
    off-policy evaluation in contextual bandits", section 3 (Switch-DR); Kong (1992), "A note on
    importance sampling using standardized weights" (effective sample size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.replay.off_policy.intervals import (
    LEVEL,
    UNKNOWN,
    BoundedSample,
    FloatArray,
    ValueEstimate,
    estimate,
)


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Diagnostics of the importance weights.

    Attributes:
        effective_units: Effective sample size, (sum w)^2 / sum w^2.
        largest_weight: Largest weight of a unit.
        mean_weight: Mean weight. Its expectation is 1 if the logging policy could have chosen
            whatever the target chooses; below, the target asks for what was never tried.
    """

    effective_units: float
    largest_weight: float
    mean_weight: ValueEstimate


def diagnose(weights: FloatArray, level: float = LEVEL) -> Diagnostics:
    """Return how far estimates with these weights can be trusted.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        level: Level of the interval of the mean weight, in (0, 1).

    Examples:
        >>> diagnose(np.array([3.0, 1.0])).effective_units
        1.6
    """
    return Diagnostics(
        effective_units=effective_units(weights),
        largest_weight=float(weights.max()),
        mean_weight=mean(weights, level),
    )


def effective_units(weights: FloatArray) -> float:
    """Return the effective sample size, (sum w)^2 / sum w^2."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def mean(
    increments: FloatArray, level: float = LEVEL, bounded: BoundedSample | None = None
) -> ValueEstimate:
    """Return the mean of increments that each have, given the past, the mean asked for.

    Args:
        increments: Shape (n,), n >= 1.
        level: Level of the interval, in (0, 1).
        bounded: What is known of the values that they are made of.
    """
    value = float(increments.mean())
    return estimate(value, increments - value, level, bounded)


def ipw(
    weights: FloatArray, values: FloatArray, level: float = LEVEL, largest: float | None = None
) -> ValueEstimate:
    """Return the estimate by inverse propensity weighting: the mean of w x.

    It has no bias, and a large variance where weights are large.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        level: Level of the interval, in (0, 1).
        largest: Bound of the values, if all are in [0, largest].
    """
    return mean(weights * values, level, _bounded(weights, largest))


def snipw(
    weights: FloatArray, values: FloatArray, level: float = LEVEL, largest: float | None = None
) -> ValueEstimate:
    """Return the self-normalised estimate: the sum of w x over the sum of w.

    Its bias falls as 1 / n. It stays within the range of the values, and does not change when the
    same is added to all of them. The interval is by the delta method.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        level: Level of the interval, in (0, 1).
        largest: Bound of the values, if all are in [0, largest].

    Returns:
        The estimate; `UNKNOWN` when no unit has a weight.
    """
    total = float(weights.sum())
    if total == 0.0:
        return UNKNOWN
    value = float((weights * values).sum()) / total
    influences = weights * (values - value) * (len(weights) / total)
    return estimate(value, influences, level, _bounded(weights, largest))


def dr(
    weights: FloatArray,
    values: FloatArray,
    of_assigned: FloatArray,
    of_target: FloatArray,
    level: float = LEVEL,
    largest: float | None = None,
) -> ValueEstimate:
    """Return the doubly robust estimate: the mean of q(pi) + w (x - q(a)).

    It has no bias whatever the model, and a better model makes the interval narrower.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        of_assigned: q_t(a_t); shape (n,).
        of_target: q_t(pi_t); shape (n,).
        level: Level of the interval, in (0, 1).
        largest: Bound of the values, if all are in [0, largest].
    """
    increments = of_target + weights * (values - of_assigned)
    return mean(increments, level, _bounded(weights, largest))


def gain(
    weights: FloatArray,
    values: FloatArray,
    of_assigned: FloatArray,
    of_target: FloatArray,
    level: float = LEVEL,
    largest: float | None = None,
) -> ValueEstimate:
    """Return what the target earns more than was earned: the mean of q(pi) + w (x - q(a)) - x.

    What chance decides of it is the mean of (w - 1) x, so units that weigh 1 leave nothing to it.
    The arguments are those of `dr`.
    """
    increments = of_target + weights * (values - of_assigned)
    bounded = None
    if largest is not None:
        squares = float(np.square(weights - 1.0).sum())
        units = len(weights) ** 2 / squares if squares else math.inf
        bounded = BoundedSample(largest, units, float(increments.mean()))
    return mean(increments - values, level, bounded)


def switch_dr(
    weights: FloatArray,
    values: FloatArray,
    of_assigned: FloatArray,
    of_target: FloatArray,
    threshold: float,
    level: float = LEVEL,
    largest: float | None = None,
) -> ValueEstimate:
    """Return the doubly robust estimate that trusts the model alone where a weight is too large.

    Above the threshold it takes q(pi) without a correction. That bounds the variance and has a
    bias of unknown size, so there is an interval only if no weight is above the threshold.

    Args:
        weights: w; shape (n,), >= 0, n >= 1.
        values: x; shape (n,).
        of_assigned: q_t(a_t); shape (n,).
        of_target: q_t(pi_t); shape (n,).
        threshold: Largest weight of a correction, >= 0.
        level: Level of the interval, in (0, 1).
        largest: Bound of the values, if all are in [0, largest].
    """
    is_kept = weights <= threshold
    kept = np.where(is_kept, weights, 0.0)
    found = dr(kept, values, of_assigned, of_target, level, largest)
    return found if is_kept.all() else replace(UNKNOWN, value=found.value)


def dm(
    shares: FloatArray, means: FloatArray, standard_errors: FloatArray, level: float = LEVEL
) -> ValueEstimate:
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
    return ValueEstimate.of(value, math.sqrt(variance), level)


def linear_dm(
    vectors: FloatArray,
    variants: NDArray[np.int64],
    values: FloatArray,
    shares: FloatArray,
    level: float = LEVEL,
) -> ValueEstimate:
    """Return the direct method with a linear model of the values for each variant.

    It has the bias of the model: none where values are linear in the features. The interval takes
    the shares as given.

    Args:
        vectors: Features of each unit, with an intercept; shape (n, dimension).
        variants: a; shape (n,), in [0, n_arms).
        values: x; shape (n,).
        shares: Share of each variant for each unit under the target; shape (n, n_arms).
        level: Level of the interval, in (0, 1).

    Returns:
        The estimate; `UNKNOWN` when the target asks for a variant without units.

    Source: ridge regression with the weight of one unit at each entry, as the contextual policies
        have it (`streams.policies.contextual.model`).
    """
    n_units, dimension = vectors.shape
    asked = shares.T @ vectors / n_units  # mean of pi(a) x for each variant
    value = variance = 0.0
    for arm, direction in enumerate(asked):
        is_of_arm = variants == arm
        if not is_of_arm.any():
            if shares[:, arm].any():
                return UNKNOWN
            continue
        seen, earned = vectors[is_of_arm], values[is_of_arm]
        matrix = seen.T @ seen + np.eye(dimension)
        coefficients = np.linalg.solve(matrix, seen.T @ earned)
        residuals = earned - seen @ coefficients
        freedom = max(1.0, float(len(earned) - dimension))
        noise = float(np.square(residuals).sum()) / freedom
        value += float(direction @ coefficients)
        variance += noise * float(direction @ np.linalg.solve(matrix, direction))
    return ValueEstimate.of(value, math.sqrt(variance), level)


def variant_means(
    variants: NDArray[np.int64],
    propensities: FloatArray,
    values: FloatArray,
    n_arms: int,
    largest: float | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the mean value of each variant and its standard error, by weights 1 / p.

    They are `snipw` of the policies that choose one variant alone, so weights that moved do not
    bias them as they do plain means.

    Args:
        variants: a; shape (n,), in [0, n_arms).
        propensities: p; shape (n,), in (0, 1].
        values: x; shape (n,).
        n_arms: Number of variants.
        largest: Bound of the values, if all are in [0, largest]: errors are then at least those of
            two observed successes and failures more, and never 0.

    Returns:
        Means, NaN for a variant without units, and standard errors; shape (n_arms,) each.

    Source: Agresti and Coull (1998), "Approximate is better than exact for interval estimation of
        binomial proportions", for the two successes and failures.
    """
    weights = 1.0 / propensities
    sums = np.bincount(variants, weights, n_arms)
    totals = np.bincount(variants, weights * values, n_arms)
    means = np.divide(totals, sums, out=np.full(n_arms, math.nan), where=sums > 0.0)
    squares = np.bincount(variants, np.square(weights * (values - means[variants])), n_arms)
    errors = np.divide(np.sqrt(squares), sums, out=np.full(n_arms, math.inf), where=sums > 0.0)
    if largest is not None:
        squared_weights = np.bincount(variants, np.square(weights), n_arms)
        units = np.divide(
            sums * sums, squared_weights, out=np.zeros(n_arms), where=squared_weights > 0.0
        )
        smoothed = (np.nan_to_num(means) / largest * units + 2.0) / (units + 4.0)
        least = largest * np.sqrt(smoothed * (1.0 - smoothed) / (units + 4.0))
        errors = np.maximum(errors, least)
    return means, errors


def _bounded(weights: FloatArray, largest: float | None) -> BoundedSample | None:
    """Return how much weighted units say of values in [0, largest]."""
    units = effective_units(weights)
    return None if largest is None or not units else BoundedSample(largest, units)
