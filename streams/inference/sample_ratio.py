"""Does the traffic arrive as it was shared out? A test that may be asked at every look.

A mismatch (units lost after their assignment, logged twice, or sent elsewhere) biases everything
that is said of the variants, so no conclusion is drawn while there is one.

Under a fixed allocation the counts are compared with the declared shares by a Bayes factor. Under
moving weights the number of units of a variant says nothing by itself, but its units weighted by
1 / propensity do: [a_t = k] / p_t - 1 has the mean 0 given the past, whatever the policy does with
the past, so the weighted units of every variant stay near the number of all units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from streams.domain.errors import InvalidParameterError
from streams.inference.confseq import log_e_values
from streams.inference.posterior import FloatArray

CONCENTRATION = 10_000.0
"""Units that the prior is worth: deviations of about one in a hundred of a share are expected when
there is a mismatch. It changes how soon one is seen, not how often there is a false alarm."""

_SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """How the units compare with the allocation.

    Attributes:
        p_value: Always-valid: the probability that it is ever at most p is at most p, as long as
            units arrive as they are assigned; in (0, 1].
        ratios: Units of each variant over the units it should have; nan without units.
    """

    p_value: float
    ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Assigned:
    """Units of one variant under moving weights.

    Attributes:
        weight: Sum of 1 / propensity over its units.
        weight_squared: Sum of (1 / propensity) squared.
        largest: Largest 1 / propensity it can have, >= 1.
    """

    weight: float
    weight_squared: float
    largest: float


def under_fixed_weights(
    counts: Sequence[int], shares: Sequence[float], concentration: float = CONCENTRATION
) -> SampleRatio:
    """Compare counts with shares that never changed.

    The Bayes factor of "the shares are Dirichlet(concentration * shares)" against "they are as
    declared" is a martingale under the latter; by Ville's inequality it ever exceeds 1 / p with
    probability p at most.

    Args:
        counts: Units of each variant; shape (n_arms,), >= 0.
        shares: Declared shares; shape (n_arms,), > 0, sum to 1.
        concentration: Units that the prior is worth, > 0.

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Lindon and Malek, arXiv 2011.03567, equation 5 in closed form.

    Examples:
        >>> under_fixed_weights([50_700, 49_300], [0.5, 0.5]).p_value < 0.01
        True
    """
    expected = np.asarray(shares, dtype=np.float64)
    observed = np.asarray(counts, dtype=np.float64)
    if not (np.all(expected > 0.0) and abs(expected.sum() - 1.0) <= _SHARE_TOLERANCE):
        raise InvalidParameterError("shares", expected.tolist(), "> 0 and sum to 1")
    if len(observed) != len(expected) or not np.all(observed >= 0.0):
        raise InvalidParameterError("counts", observed.tolist(), ">= 0, as many as shares")
    if not 0.0 < concentration < math.inf:
        raise InvalidParameterError("concentration", concentration, "finite and > 0")
    total = observed.sum()
    prior = concentration * expected
    log_factor = float(
        (special.gammaln(prior + observed) - special.gammaln(prior)).sum()
        - (special.gammaln(concentration + total) - special.gammaln(concentration))
        - (observed * np.log(expected)).sum()
    )
    return SampleRatio(math.exp(-max(log_factor, 0.0)), _ratios(observed, expected * total))


def under_moving_weights(arms: Sequence[Assigned], units: int) -> SampleRatio:
    """Compare units weighted by 1 / propensity with the number of all units.

    Every variant is tested on both sides (`log_e_values`: exact at every number of units), and the
    p-values are held together by Bonferroni. It needs nothing but sums, so it can be computed from
    merged tallies; a Bayes factor with moving propensities can too, but its alternative of constant
    shares is so much worse than any policy that it would never see a mismatch.

    Args:
        arms: Weighted units of each variant.
        units: Units of all variants, >= 0.

    Raises:
        InvalidParameterError: `units` is negative, or `largest` below 1.

    Source: the martingale of arXiv 2011.03567, section 3, with bets on its mean as in `confseq`.
    """
    if units < 0:
        raise InvalidParameterError("units", units, ">= 0")
    weights = np.array([arm.weight for arm in arms])
    squared = np.array([arm.weight_squared for arm in arms])
    largest = np.array([arm.largest for arm in arms])
    if not np.all(largest >= 1.0):
        raise InvalidParameterError("largest", largest.tolist(), ">= 1")
    excess = weights - units
    # Sum of ([a_t = k] / p_t - 1)^2 over all units.
    squares = np.maximum(squared - 2.0 * weights + units, 0.0)
    too_many = log_e_values(excess, squares, np.ones_like(weights))
    # A variant falls short by at most largest - 1 in one unit; where 1 is all, it cannot.
    too_few = log_e_values(-excess, squares, np.maximum(largest - 1.0, 1.0))
    log_factor = max(0.0, float(np.maximum(too_many, too_few).max()))
    p_value = min(1.0, 2.0 * len(arms) * math.exp(-log_factor))
    return SampleRatio(p_value, _ratios(weights, np.full_like(weights, float(units))))


def _ratios(observed: FloatArray, expected: FloatArray) -> tuple[float, ...]:
    return tuple(
        seen / wanted if wanted > 0.0 else math.nan
        for seen, wanted in zip(observed.tolist(), expected.tolist(), strict=True)
    )
