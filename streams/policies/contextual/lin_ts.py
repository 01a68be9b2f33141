"""Linear Thompson sampling: in each context, traffic by one draw common to all variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from streams.policies.contextual.base import ContextualPolicy
from streams.stats.arrays import FloatArray

LARGEST_DRAW = 2.0
"""Deviations above the mean at which the draws end: about the upper end of a 95 % interval."""


class LinTS(ContextualPolicy):
    """Share = probability of the largest mean plus a common random number of deviations.

    The expected reward of a variant in a context x is Normal with mean theta^T x and deviation
    alpha noise sqrt(x^T A^-1 x). The share of a variant is the probability of the draws z for which
    its mean + z deviation is the largest: computed, not sampled. z is half-Normal, truncated to [0,
    `LARGEST_DRAW`], and common to all variants.

    The paper has one theta for all arms, so one draw decides for all of them. With a separate model
    and draw for each arm, the luckiest of many wins: the chance that some inferior arm exceeds the
    best one grows with the number of arms. Draws below the mean would penalise uncertain arms, and
    draws far above it would favour nearly excluded ones. The group `contextual-draws` of the
    calibration measures the cost of each. Like LinUCB with a constant alpha, the policy may abandon
    an arm permanently, except for its floor, which is above 0 by default.

    Source: Agrawal and Goyal (2013), "Thompson sampling for contextual bandits with linear
        payoffs", algorithm 1; Vaswani, Mehrabian, Durand and Kveton (2020), "Old dog learns new
        tricks: randomized UCB for bandit problems", section 3 (one draw for all arms, of a Gaussian
        truncated to an interval from 0); May, Korda, Lee and Leslie (2012), "Optimistic Bayesian
        sampling in contextual-bandit problems".
    """

    type: ClassVar[str] = "lin_ts"

    def shares_in_context(self, means: FloatArray, deviations: FloatArray) -> Sequence[float]:
        """Return the probability that each arm is the largest."""
        spread: list[float] = np.nan_to_num(self.alpha * deviations).tolist()
        return common_draw_shares(np.nan_to_num(means).tolist(), spread)


def common_draw_shares(means: Sequence[float], deviations: Sequence[float]) -> tuple[float, ...]:
    """Return the probability of the draws z for which each mean + z deviation is the largest.

    The upper envelope of the lines mean + z deviation, along which deviations increase, is followed
    from z = 0, from crossing to crossing. Equal lines share equally.

    Args:
        means: Shape (n,), finite.
        deviations: Shape (n,), finite, >= 0.

    Returns:
        Probabilities; shape (n,), sum to 1.

    Examples:
        >>> shares = common_draw_shares([0.3, 0.2, 0.1], [0.1, 0.2, 0.1])
        >>> [round(share, 4) for share in shares]  # the first two cross at z = 1
        [0.7152, 0.2848, 0.0]
    """
    lines = list(zip(means, deviations, strict=True))
    shares = [0.0] * len(lines)
    leading, begin = max(lines), 0.0
    while begin < 1.0:
        mean, deviation = leading
        # The next crossing with a steeper line; the steepest of several.
        end, _, following = min(
            (((mean - other) / (slope - deviation), -slope, (other, slope))
             for other, slope in lines if slope > deviation),
            default=(LARGEST_DRAW, 0.0, leading),
        )  # fmt: skip
        until = max(begin, _drawn_below(min(end, LARGEST_DRAW)))  # negative by rounding
        same = [place for place, line in enumerate(lines) if line == leading]
        for place in same:
            shares[place] += (until - begin) / len(same)
        leading, begin = following, until
    return tuple(shares)


def _drawn_below(z: float) -> float:
    """Return the probability of a draw below z; 1 at `LARGEST_DRAW`."""
    return math.erf(z * math.sqrt(0.5)) / math.erf(LARGEST_DRAW * math.sqrt(0.5))
