"""The policies, by the name their experiments give as `type`.

Adding one is one module beside this one and one line in `POLICIES`.
"""

from __future__ import annotations

from streams.allocation.policies.base import Arm, BetaPolicy, Policy
from streams.allocation.policies.bayesian_ab import BayesianAB
from streams.allocation.policies.contextual import ContextualPolicy
from streams.allocation.policies.epsilon_greedy import EpsilonGreedy
from streams.allocation.policies.lin_ts import LinTS
from streams.allocation.policies.lin_ucb import LinUCB
from streams.allocation.policies.thompson_sampling import ThompsonSampling
from streams.allocation.policies.top_two_thompson import TopTwoThompson
from streams.allocation.policies.ucb import UCB, UCBVariant

POLICIES: dict[str, type[Policy]] = {
    policy.type: policy
    for policy in (ThompsonSampling, TopTwoThompson, UCB, EpsilonGreedy, BayesianAB, LinUCB, LinTS)
}

__all__ = [
    "POLICIES",
    "UCB",
    "Arm",
    "BayesianAB",
    "BetaPolicy",
    "ContextualPolicy",
    "EpsilonGreedy",
    "LinTS",
    "LinUCB",
    "Policy",
    "ThompsonSampling",
    "TopTwoThompson",
    "UCBVariant",
]
