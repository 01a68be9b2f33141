"""The posteriors of the arms of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from streams.policies.base import Arm, BetaPolicy, Policy
from streams.stats.bayes.best import BestArm, best
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior


def arm_posteriors(
    arms: Sequence[Arm], *, prior_alpha: float = 1.0, prior_beta: float = 1.0
) -> Posteriors:
    """Return the posteriors of the arms' means: Beta if every value is 0 or 1, else Normal.

    Args:
        arms: The arms; at least one.
        prior_alpha: Pseudo-successes of the Beta prior, > 0.
        prior_beta: Pseudo-failures of the Beta prior, > 0.
    """
    if all(arm.is_binary for arm in arms):
        return BetaPosterior.observed(
            [arm.total for arm in arms],
            [max(0.0, arm.units - arm.total) for arm in arms],
            prior_alpha=prior_alpha,
            prior_beta=prior_beta,
        )
    units, totals, deviations = np.array(
        [(arm.units, arm.total, arm.squared_deviations) for arm in arms], dtype=np.float64
    ).T
    # An arm without data of its variation is assumed to vary like the others.
    prior = NormalPrior.pooled(units, totals, deviations)
    return NormalPosterior.observed(units, totals, deviations, prior=prior)


@lru_cache(maxsize=1)
def best_of_arms(
    arms: tuple[Arm, ...], *, prior_alpha: float = 1.0, prior_beta: float = 1.0
) -> BestArm:
    """Return P(best) and expected loss by the posteriors of `arm_posteriors`.

    The last result is cached: the analysis and the policy evaluate the same arms consecutively, and
    the quadrature dominates the cost of an evaluation.
    """
    posteriors = arm_posteriors(arms, prior_alpha=prior_alpha, prior_beta=prior_beta)
    return best(posteriors)


def best_under(
    policy: Policy, arms: tuple[Arm, ...], posteriors: Posteriors, *, is_binary: bool
) -> BestArm:
    """Return P(best) and expected loss by the primary metric.

    Args:
        policy: The policy.
        arms: The arms of the policy.
        posteriors: Posteriors of the metric, oriented so that the largest mean is the best.
        is_binary: Whether they are those of a binary metric. A policy with a Beta prior has the
            same ones, and its cached result is used.
    """
    if is_binary and isinstance(policy, BetaPolicy):
        return best_of_arms(arms, prior_alpha=policy.prior_alpha, prior_beta=policy.prior_beta)
    return best(posteriors)
