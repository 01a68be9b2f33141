"""Report of an off-policy evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.model.vectors import FEATURE_ONE
from streams.replay.off_policy import estimators
from streams.replay.off_policy.estimators import Diagnostics
from streams.replay.off_policy.intervals import ValueEstimate
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.target import Target

SWITCH_THRESHOLD = 10.0
"""Weight above which Switch-DR believes its model alone: ten units' say for one."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Estimated value of a policy per unit, beside the observed value.

    Attributes:
        n_units: Units of the log.
        earned: Mean value of the units as they were assigned.
        dr: Doubly robust, with the means that were known when each unit came as model.
        snipw: Self-normalised inverse propensity weighting.
        ipw: Inverse propensity weighting.
        dm: Direct method, with a model of the whole log: the means of the variants, and a linear
            one under a policy that decides by features.
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
    earned: ValueEstimate
    dr: ValueEstimate
    snipw: ValueEstimate
    ipw: ValueEstimate
    dm: ValueEstimate
    switch_dr: ValueEstimate
    gain: ValueEstimate
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
    values, probabilities, largest = log.values, log.probabilities, log.bound
    chosen, of_assigned = target.of_assigned(log.variants)
    weights = chosen / probabilities
    columns = weights, values, of_assigned, target.expected
    shares = target.mean_shares
    means, errors = estimators.variant_means(
        log.variants, probabilities, values, log.n_arms, largest
    )
    return Evaluation(
        n_units=log.n_units,
        earned=estimators.ipw(np.ones(log.n_units), values, largest=largest),
        dr=estimators.dr(*columns, largest=largest),
        snipw=estimators.snipw(weights, values, largest=largest),
        ipw=estimators.ipw(weights, values, largest=largest),
        dm=_direct(log, target) if target.is_contextual else estimators.dm(shares, means, errors),
        switch_dr=estimators.switch_dr(*columns, SWITCH_THRESHOLD, largest=largest),
        gain=estimators.gain(*columns, largest=largest),
        diagnostics=estimators.diagnose(weights),
        n_learned=target.n_learned,
        lacking=target.lacking,
        n_switched=int((weights > SWITCH_THRESHOLD).sum()),
        assigned=tuple(np.bincount(log.variants, minlength=log.n_arms).tolist()),
        shares=tuple(shares.tolist()),
        means=tuple(means.tolist()),
    )


def _direct(log: UnitLog, target: Target) -> ValueEstimate:
    """Return the direct method with a linear model of the features."""
    dimension = 1 + max(index for vector in log.vectors for index, _ in vector)
    vectors = np.zeros((len(log.vectors), dimension))
    for row, vector in zip(vectors, log.vectors, strict=True):
        for index, value in vector:
            row[index] = value / FEATURE_ONE
    return estimators.linear_dm(
        vectors[log.contexts] if len(log.contexts) else np.repeat(vectors, log.n_units, axis=0),
        log.variants,
        log.values,
        target.shares[target.situations],
    )
