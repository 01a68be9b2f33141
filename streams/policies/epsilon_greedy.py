"""Epsilon-greedy: most traffic to the best arm so far, and a fixed share for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from streams.policies.base import Arm, Policy, leaders

DEFAULT_DECAY_UNITS = 500.0
"""c / d^2 of Auer's schedule with c = 5 and d = 0.1, the smallest gap it is tuned to find."""


class EpsilonGreedy(Policy):
    """Share 1 - epsilon to the largest observed mean, and epsilon spread evenly over all arms.

    Arms without a unit come first; arms that tie share equally. With `decay` the exploration is
    min(epsilon, D K / t) for K arms and t units: constant at first, then 1/t. With D of 500 the
    regret grows as log t when the gap to the best arm is 0.1 or more; but ten arms at an epsilon
    of 0.1 come to 1/t after 50,000 units only. Smaller gaps, such as those between click rates of a
    few per cent, are outside the theorem: there a smaller D loses less at first, and a D that is
    too small may stay with an inferior arm permanently.

    Attributes:
        epsilon: Share of exploration, in [0, 1].
        decay: Whether it falls with the number of units.
        decay_units: D, by which `decay` is set, > 0.

    Source: Auer, Cesa-Bianchi and Fischer (2002), figure 3 and theorem 3.
    """

    type: ClassVar[str] = "epsilon_greedy"
    adaptive: ClassVar[bool] = True

    epsilon: float = Field(default=0.1, ge=0.0, le=1.0)
    decay: bool = False
    decay_units: float = Field(default=DEFAULT_DECAY_UNITS, gt=0.0, le=1e9)

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the combined shares of exploration and exploitation."""
        epsilon = self.exploration(math.fsum(arm.units for arm in arms), len(arms))
        greedy = leaders([arm.total / arm.units if arm.units else float("inf") for arm in arms])
        return tuple(epsilon / len(arms) + (1.0 - epsilon) * share for share in greedy)

    def exploration(self, units: float, n_arms: int) -> float:
        """Return epsilon after `units` units.

        >>> EpsilonGreedy(epsilon=0.1, decay=True).exploration(100_000, 2)
        0.01
        """
        if not self.decay:
            return self.epsilon
        return min(self.epsilon, self.decay_units * n_arms / max(1, units))
