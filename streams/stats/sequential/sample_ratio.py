"""Sample ratio mismatch: always-valid tests that counts follow the configured split.

A mismatch (units lost after their assignment, logged twice, or sent elsewhere) biases everything
that is said of the variants, so no conclusion is drawn while there is one.

Under a fixed allocation the counts are compared with the declared shares by a Bayes factor. Under
moving weights the number of units of a variant is no evidence, but its units weighted by
1 / propensity are: [a_t = k] / p_t - 1 has the mean 0 given the past, whatever the policy does with
the past, so the weighted units of every variant stay near the number of all units, or of those for
which it was eligible. In a pair of variants, the sums of the weights with which their units are
compared stay near each other. That test keeps its power when one variant has had little traffic for
a time, in which weights of 1 / propensity are so large that they hide all other units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of
from streams.stats.sequential.confidence_sequences import log_e_values

CONCENTRATION = 10_000.0
"""Units that one half of the prior is worth: deviations of about one in a hundred of a share are
expected when there is a mismatch. The other half is worth one unit a variant: any shares are as
likely, so that a variant that never reports is seen in tens of units, and not in hundreds. Both
change how soon a mismatch is seen, not how often there is a false alarm."""

_SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class SampleRatio:
    """Comparison of the units with the allocation, in one experiment or in many.

    Attributes:
        p_value: Always-valid: the probability that it is ever at most p is at most p, as long as
            units arrive as they are assigned; shape (...), in [0, 1].
        ratios: Units of each variant over the units it should have, both weighted as they are
            compared; nan without units; shape (..., n_arms).
    """

    p_value: FloatArray
    ratios: FloatArray


def under_fixed_weights(
    counts: ArrayLike, shares: ArrayLike, concentration: float | None = None
) -> SampleRatio:
    """Compare counts with shares that never changed.

    The Bayes factor of "the shares are Dirichlet(concentration * shares)" against "they are as
    declared" is a martingale under the latter, and so is the mean of two such factors; by Ville's
    inequality it ever exceeds 1 / p with probability p at most.

    Args:
        counts: Units of each variant; shape (..., n_arms), >= 0.
        shares: Declared shares; shape (n_arms,), > 0, sum to 1.
        concentration: Units that the prior is worth, > 0; None for the mean of the factors of
            `CONCENTRATION` and of one unit a variant.

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Lindon and Malek, arXiv 2011.03567, in closed form.

    Examples:
        >>> bool(under_fixed_weights([50_700, 49_300], [0.5, 0.5]).p_value < 0.01)
        True

        A variant that never reports, after 12 and after 20 units of the other:

        >>> under_fixed_weights([[12, 0], [20, 0]], [0.5, 0.5]).p_value.round(6).tolist()
        [0.006327, 4e-05]
    """
    expected = np.asarray(shares, dtype=np.float64)
    observed = np.asarray(counts, dtype=np.float64)
    if not (all_of(expected > 0.0) and abs(expected.sum() - 1.0) <= _SHARE_TOLERANCE):
        raise InvalidParameterError("shares", expected.tolist(), "> 0 and sum to 1")
    if observed.shape[-1:] != expected.shape or not all_of(observed >= 0.0):
        raise InvalidParameterError("counts", observed.tolist(), ">= 0, as many as shares")
    if concentration is not None and not 0.0 < concentration < math.inf:
        raise InvalidParameterError("concentration", concentration, "finite and > 0")
    if concentration is not None:
        log_factor = _log_bayes_factor(observed, expected, concentration)
    else:
        near = _log_bayes_factor(observed, expected, CONCENTRATION)
        anywhere = _log_bayes_factor(observed, expected, float(len(expected)))
        log_factor = np.logaddexp(near, anywhere) - math.log(2.0)
    p_value = np.exp(-np.maximum(log_factor, 0.0))
    return SampleRatio(p_value, _ratios(observed, expected * observed.sum(axis=-1)[..., None]))


def _log_bayes_factor(
    observed: FloatArray, expected: FloatArray, concentration: float
) -> FloatArray:
    """Return the logarithm of the factor for Dirichlet(concentration * expected); shape (...)."""
    prior = concentration * expected
    factor: FloatArray = (
        (special.gammaln(prior + observed) - special.gammaln(prior)).sum(axis=-1)
        - (special.gammaln(concentration + observed.sum(axis=-1)) - special.gammaln(concentration))
        - (observed * np.log(expected)).sum(axis=-1)
    )
    return factor


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """Units of every variant under moving weights; shape (..., n_arms) each.

    Attributes:
        weight: Sum of 1 / propensity over the units of the variant.
        weight_squared: Sum of (1 / propensity) squared.
        largest: Largest 1 / propensity a unit of it can have, >= 1.
    """

    weight: FloatArray
    weight_squared: FloatArray
    largest: FloatArray


def under_moving_weights(assigned: Assigned, units: ArrayLike) -> SampleRatio:
    """Compare units weighted by 1 / propensity with the number of all units.

    Every variant is tested on both sides (`log_e_values`: exact at every number of units), and the
    p-values are held together by Bonferroni. It needs nothing but sums, so it can be computed from
    merged tallies. A Dirichlet-multinomial Bayes factor with moving propensities can too, given
    their logarithms, but shares that follow the data are so much better than its alternative of
    constant ones that it would never see a mismatch.

    Args:
        assigned: Weighted units of each variant.
        units: Units of all variants, or for each variant those that could be assigned to it, >= 0;
            shape (..., 1) or (..., n_arms).

    Raises:
        InvalidParameterError: `units` is negative, or `largest` below 1.

    Source: the propensities are divided out as in arXiv 2011.03567; the bets on the mean are those
        of the Python package `confseq`.
    """
    total = np.asarray(units, dtype=np.float64)
    if not all_of(total >= 0.0):
        raise InvalidParameterError("units", total.tolist(), ">= 0")
    if not all_of(assigned.largest >= 1.0):
        raise InvalidParameterError("largest", assigned.largest.tolist(), ">= 1")
    excess = assigned.weight - total
    # Sum of ([a_t = k] / p_t - 1)^2 over all units.
    squares = np.maximum(assigned.weight_squared - 2.0 * assigned.weight + total, 0.0)
    # A variant falls short by at most largest - 1 in one unit; where 1 is all, it cannot.
    shortfall = np.maximum(assigned.largest - 1.0, 1.0) + np.zeros_like(excess)
    # Too many and too few in one call: for a few numbers the cost of numpy is that of its calls.
    log_e = log_e_values(
        np.array([excess, -excess]),
        np.array([squares, squares]),
        np.array([np.ones_like(excess), shortfall]),
    )
    log_factor = log_e.max(axis=(0, -1))
    sides = 2.0 * excess.shape[-1]
    p_value = np.minimum(1.0, sides * np.exp(-np.maximum(log_factor, 0.0)))
    return SampleRatio(p_value, _ratios(assigned.weight, np.broadcast_to(total, excess.shape)))


def under_overlap_weights(overlap: ArrayLike, overlap_squared: ArrayLike) -> SampleRatio:
    """Compare the units of every two variants by the weights with which they count.

    A unit of a adds h / p(a) to the sum of the pair and one of b takes h / p(b) away, where the
    overlap h > 0 of the pair follows from the propensities of all variants at the assignment. If
    units arrive as they were assigned, the mean of that given the past is h - h = 0, whatever the
    other variants get, and it lies in [-1, 1]. So the sum of every pair is a martingale; of two
    variants it is what a has beyond the sum of its propensities.

    An e-value is the mean of those of both sides of all pairs, which is one again, however they
    depend on each other: its always-valid p-value is 1 over it. A variant that loses units shows in
    all of its pairs.

    The ratios are those of the weighted units of each variant to the mean of theirs and of those of
    all others beside it.

    Args:
        overlap: Sum over the units of a of h / p(a), at [..., a, b]; shape (..., n, n).
        overlap_squared: Sum of its square.

    Source: as for `under_moving_weights`; the increments are bounded whatever the floor is. Vovk
        and Wang (2021), "E-values: calibration, combination and applications", for the mean.

    Examples:
        500 units at 1/2 each, then 90 and 890 at 0.1 and 0.9, where 98 and 882 were to come:

        >>> overlap, squared = [[0, 331.0], [339.0, 0]], [[0, 197.9], [133.9, 0]]
        >>> found = under_overlap_weights(overlap, squared)
        >>> found.ratios.round(4).tolist()
        [0.9881, 1.0119]
    """
    weight = np.asarray(overlap, dtype=np.float64)
    squared = np.asarray(overlap_squared, dtype=np.float64)
    reverse = np.swapaxes(weight, -1, -2)
    excess, squares = weight - reverse, squared + np.swapaxes(squared, -1, -2)
    is_pair = ~np.eye(weight.shape[-1], dtype=np.bool_)
    # At [a, b] that a has too many beside b, and at [b, a] that b has. Where a sum has not risen,
    # its e-value is at least 0, and below 1.
    log_e = np.full_like(excess, -math.inf)
    is_risen = is_pair & (excess > 0.0)
    one = np.ones_like(excess[is_risen])
    log_e[is_risen] = log_e_values(excess[is_risen], squares[is_risen], one)
    # A hundredth of the time of `special.logsumexp`, which asks first whose arrays they are.
    log_factor = np.logaddexp.reduce(log_e, axis=(-2, -1)) - math.log(is_pair.sum())
    p_value = np.exp(-np.maximum(log_factor, 0.0))
    own, others = (np.where(is_pair, each, 0.0).sum(axis=-1) for each in (weight, reverse))
    return SampleRatio(p_value, _ratios(own, (own + others) / 2.0))


def sharper(one: SampleRatio, other: SampleRatio) -> SampleRatio:
    """Return the clearer of two answers about the same units, its p-value corrected for both."""
    is_first = one.p_value < other.p_value
    return SampleRatio(
        np.minimum(1.0, 2.0 * np.minimum(one.p_value, other.p_value)),
        np.where(is_first[..., None], one.ratios, other.ratios),
    )


def _ratios(observed: FloatArray, expected: FloatArray) -> FloatArray:
    nothing = np.full_like(observed, np.nan)
    return np.divide(observed, expected, out=nothing, where=expected > 0.0)
