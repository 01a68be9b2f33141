"""Linear Thompson sampling: in each context, traffic in proportion to P(best) in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.policies.contextual.base import ContextualPolicy
from streams.stats.arrays import FloatArray
from streams.stats.bayes.gaussian_best import gaussian_best


class LinTS(ContextualPolicy):
    """Share = probability to earn the most in this context, computed and not sampled.

    What a variant earns in a context x is theta^T x, and so Normal with mean theta^T x and
    deviation alpha noise sqrt(x^T A^-1 x). Drawing theta and comparing, as the paper does, plays
    each variant with just the probability that is the share here.

    Source: Agrawal and Goyal (2013), "Thompson sampling for contextual bandits with linear
        payoffs", algorithm 1, with a model for each arm.
    """

    type: ClassVar[str] = "lin_ts"

    def shares_in_context(self, means: FloatArray, deviations: FloatArray) -> Sequence[float]:
        """Return P(best) of each arm."""
        shares: list[float] = gaussian_best(means, self.alpha * deviations).tolist()
        return shares
