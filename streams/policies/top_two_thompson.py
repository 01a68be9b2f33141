"""Top-two Thompson sampling: fast identification of the best arm, rather than low regret."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from streams.policies.arm_posteriors import arm_posteriors, best_of_arms
from streams.policies.base import Arm, BetaPolicy
from streams.stats.bayes.best import best

LEADER_SHARE = 0.5
"""Share of the first draw, beta: with 1/2 no instance needs more than twice the units that the best
beta for it would need."""

NEGLIGIBLE = 1e-8
"""Total P(best) of all challengers below which it is quadrature error and not evidence."""


class TopTwoThompson(BetaPolicy):
    """Share = probability that the arm is drawn first, or second and different, at even odds.

    Thompson sampling stops comparing once it is nearly certain; this policy keeps about half of the
    traffic on the challengers, and so reaches certainty sooner. Russo draws an arm by P(best),
    keeps it with probability beta, and else draws again until another comes. The share is that
    probability, summed instead of drawn: with a the vector of P(best),

        share_i = a_i (beta + (1 - beta) sum over j != i of a_j / (1 - a_j)).

    Two arms are always split evenly. When the challengers of an arm have less than `NEGLIGIBLE`
    together, they share by their probability to be the best among themselves.

    Source: Russo (2016), "Simple Bayesian algorithms for best arm identification", section 3.3
        (TTTS), with beta = 1/2 as in section 4.
    """

    type: ClassVar[str] = "top_two_thompson"
    adaptive: ClassVar[bool] = True
    compares_means: ClassVar[bool] = True

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the probability that each arm is played."""
        found = best_of_arms(tuple(arms), prior_alpha=self.prior_alpha, prior_beta=self.prior_beta)
        first = found.probability.tolist()
        shares = [LEADER_SHARE * probability for probability in first]
        for leader, probability in enumerate(first):
            for arm, second in enumerate(self._challengers(arms, first, leader)):
                shares[arm] += (1.0 - LEADER_SHARE) * probability * second
        total = math.fsum(shares)
        return tuple(share / total for share in shares)

    def _challengers(
        self, arms: Sequence[Arm], first: Sequence[float], leader: int
    ) -> Sequence[float]:
        """Return the probability that each arm is the challenger of `leader`; 0 for itself."""
        others = [*first[:leader], 0.0, *first[leader + 1 :]]
        # Not 1 - first[leader], which loses every digit when the leader is nearly certain.
        total = math.fsum(others)
        if total > NEGLIGIBLE:
            return [probability / total for probability in others]
        rest = [*arms[:leader], *arms[leader + 1 :]]
        posteriors = arm_posteriors(rest, prior_alpha=self.prior_alpha, prior_beta=self.prior_beta)
        among = best(posteriors).probability.tolist()
        return [*among[:leader], 0.0, *among[leader:]]
