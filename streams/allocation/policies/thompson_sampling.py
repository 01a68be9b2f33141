"""Thompson sampling: everyone gets traffic in proportion to its probability to be best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from streams.allocation.policies.base import Arm, Policy
from streams.allocation.policies.posteriors import best_arm


class ThompsonSampling(Policy):
    """Share = posterior probability to have the best mean, computed and not sampled.

    Attributes:
        prior_alpha: Pseudo-successes of the Beta prior, > 0. Used while the metric is binary;
            other metrics have the weak Normal prior of `NormalPosterior.observed`.
        prior_beta: Pseudo-failures of the Beta prior, > 0.

    Source: Thompson (1933); Scott (2010), "A modern Bayesian look at the multi-armed
        bandit", equation 7.
    """

    type: ClassVar[str] = "thompson_sampling"
    adaptive: ClassVar[bool] = True

    prior_alpha: float = Field(default=1.0, gt=0.0, le=1e9)
    prior_beta: float = Field(default=1.0, gt=0.0, le=1e9)

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return P(best) of each arm."""
        winner = best_arm(tuple(arms), prior_alpha=self.prior_alpha, prior_beta=self.prior_beta)
        return tuple(winner.probability.tolist())
