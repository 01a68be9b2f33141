"""The policies, by their name in the `type` of experiments.

Adding one is one module beside this one and one line in `POLICIES`.
"""

from __future__ import annotations

from streams.policies.base import Policy
from streams.policies.bayesian_ab import BayesianAB
from streams.policies.contextual.lin_ts import LinTS
from streams.policies.contextual.lin_ucb import LinUCB
from streams.policies.epsilon_greedy import EpsilonGreedy
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.top_two_thompson import TopTwoThompson
from streams.policies.ucb import UCB

POLICIES: dict[str, type[Policy]] = {
    policy.type: policy
    for policy in (
        ThompsonSampling,
        TopTwoThompson,
        UCB,
        EpsilonGreedy,
        BayesianAB,
        LinUCB,
        LinTS,
    )
}
