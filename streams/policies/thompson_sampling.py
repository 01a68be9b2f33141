"""Thompson sampling: every arm gets traffic in proportion to its P(best)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.policies.arm_posteriors import best_of_arms
from streams.policies.base import Arm, BetaPolicy


class ThompsonSampling(BetaPolicy):
    """Share = posterior probability of the best mean, computed and not sampled.

    Source: Thompson (1933); Scott (2010), "A modern Bayesian look at the multi-armed
        bandit", equation 7.
    """

    type: ClassVar[str] = "thompson_sampling"
    adaptive: ClassVar[bool] = True
    compares_means: ClassVar[bool] = True

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return P(best) of each arm."""
        found = best_of_arms(tuple(arms), prior_alpha=self.prior_alpha, prior_beta=self.prior_beta)
        return tuple(found.probability.tolist())
