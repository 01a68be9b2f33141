"""All that a log says of another policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.replay.off_policy import estimators
from streams.replay.off_policy.estimators import Diagnostics, Estimate
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.target import Target

SWITCH_THRESHOLD = 10.0
"""Weight above which Switch-DR believes its model alone: ten units' say for one."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy would have earned per unit, and what was earned.

    Attributes:
        n_units: Units of the log.
        earned: Mean value of the units as they were assigned.
        dr: Doubly robust, with the means that were known when each unit came as model.
        snipw: Self-normalised inverse propensity weighting.
        ipw: Inverse propensity weighting.
        dm: Direct method, with the means of the whole log as model.
        switch_dr: As `dr`, without corrections of a weight above `SWITCH_THRESHOLD`.
        gain: `dr` less `earned`, unit by unit.
        diagnostics: How far the weights can be trusted.
        n_learned: Units that the policy learned from.
        lacking: Share of its choices that its own run lacks.
        n_switched: Units whose weight is above `SWITCH_THRESHOLD`.
        assigned: Units that each variant was assigned.
        shares: Mean share of each variant under the policy.
        means: Mean value of each variant over the whole log, by weights 1 / propensity; NaN without
            units.
    """

    n_units: int
    earned: Estimate
    dr: Estimate
    snipw: Estimate
    ipw: Estimate
    dm: Estimate
    switch_dr: Estimate
    gain: Estimate
    diagnostics: Diagnostics
    n_learned: int
    lacking: float
    n_switched: int
    assigned: tuple[int, ...]
    shares: tuple[float, ...]
    means: tuple[float, ...]


def evaluate_target(log: UnitLog, target: Target) -> Evaluation:
    """Return what a target would have earned on a log.

    Args:
        log: The units; at least one.
        target: The policy, replayed over that log.
    """
    values, probabilities = log.values, log.probabilities
    chosen, of_assigned = target.of_assigned(log.variants)
    weights = chosen / probabilities
    columns = weights, values, of_assigned, target.expected
    shares = target.mean_shares
    means, errors = estimators.variant_means(log.variants, probabilities, values, log.n_arms)
    return Evaluation(
        n_units=log.n_units,
        earned=estimators.mean(values),
        dr=estimators.dr(*columns),
        snipw=estimators.snipw(weights, values),
        ipw=estimators.ipw(weights, values),
        dm=estimators.dm(shares, means, errors),
        switch_dr=estimators.switch_dr(*columns, SWITCH_THRESHOLD),
        gain=estimators.mean(estimators.dr_increments(*columns) - values),
        diagnostics=estimators.diagnose(weights),
        n_learned=target.n_learned,
        lacking=target.lacking,
        n_switched=int((weights > SWITCH_THRESHOLD).sum()),
        assigned=tuple(np.bincount(log.variants, minlength=log.n_arms).tolist()),
        shares=tuple(shares.tolist()),
        means=tuple(means.tolist()),
    )
