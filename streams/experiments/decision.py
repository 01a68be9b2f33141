"""Is there a winner? The rule that may be asked at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from streams.allocation.policies import BayesianAB
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import RecommendedAction
from streams.inference.best import Best
from streams.inference.confseq import WeightedSums, differences

NEGLIGIBLE_DIFFERENCE = 0.01
"""Differences from the leader below this share of its mean count as none."""

MIN_UNITS_WITH_VALUE = 30
"""Units with a value every variant needs before the asymptotic sequence of a metric that is not
binary is believed: with fewer, a lucky arm may have seen none of the rare large values."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the primary metric says of one variant.

    Attributes:
        units: Units assigned.
        units_with_value: Units with at least one observation.
        mean: Observed mean per unit.
        weighted: Sums of value / propensity.
        is_binary: Whether every unit value of the experiment is 0 or 1.
    """

    units: int
    units_with_value: int
    mean: float
    weighted: WeightedSums
    is_binary: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why; the fields are those of `Snapshot`."""

    winner: int | None
    confidence: float
    recommended_action: RecommendedAction
    reason: str


def decide(experiment: Experiment, evidence: Sequence[Evidence], best: Best, units: int) -> Verdict:
    """Return what to do with an experiment.

    A winner is named when all of this holds: the experiment is running or paused; every variant has
    `min_sample_size` units; the leader's P(best) reaches `significance_threshold` (and under
    `bayesian_ab` the `early_stopping_threshold`); and the confidence sequence of leader minus each
    other variant lies above 0 at error (1 - significance_threshold) / (number of variants - 1).

    The last condition bounds the probability that the rule *ever* names a variant that is not
    strictly better than all others by 1 - significance_threshold, in spite of any number of looks
    and of an allocation that moves: to name a wrong one, its sequence against a best variant must
    fail on one side, which has half the error, and there are at most as many such sides as
    variants. P(best) alone, looked at again and again, would err far more often.

    No difference is concluded when all those sequences lie within `NEGLIGIBLE_DIFFERENCE` of the
    leader's mean.

    Args:
        experiment: The experiment.
        evidence: Its variants, in the order of the definition.
        best: Who is best by the primary metric.
        units: Units of all variants.
    """
    leader = max(
        range(len(evidence)),
        key=lambda index: (best.probability[index], evidence[index].mean, -index),
    )
    confidence = float(best.probability[leader])
    match experiment.status:
        case Status.DRAFT:
            return _go_on(confidence, "The experiment has not been started.")
        case Status.CONCLUDED | Status.ARCHIVED:
            return Verdict(
                experiment.winner, confidence, RecommendedAction.CONTINUE, _ending(experiment)
            )
        case Status.RUNNING | Status.PAUSED:
            obstacle = _obstacle(experiment, evidence)
            if obstacle:
                return _go_on(confidence, obstacle)
            return _compared(experiment, evidence, leader, best, units)
        case _:
            assert_never(experiment.status)


def _obstacle(experiment: Experiment, evidence: Sequence[Evidence]) -> str | None:
    """Return what stands in the way of any conclusion, cheapest first."""
    config = experiment.definition.config
    names = [variant.name for variant in experiment.definition.variants]
    for name, variant in zip(names, evidence, strict=True):
        if variant.units < config.min_sample_size:
            return f"{name} has {variant.units:,} of the {config.min_sample_size:,} units it needs."
    for name, variant in zip(names, evidence, strict=True):
        if not variant.is_binary and variant.units_with_value < MIN_UNITS_WITH_VALUE:
            return (
                f"{name} has a value of {config.primary_metric} from {variant.units_with_value} "
                f"units; {MIN_UNITS_WITH_VALUE} are needed to compare means."
            )
    return None


def _compared(
    experiment: Experiment, evidence: Sequence[Evidence], leader: int, best: Best, units: int
) -> Verdict:
    config = experiment.definition.config
    names = [variant.name for variant in experiment.definition.variants]
    confidence = float(best.probability[leader])
    others = [index for index in range(len(names)) if index != leader]
    error = 1.0 - config.significance_threshold
    intervals = differences(
        evidence[leader].weighted,
        [evidence[index].weighted for index in others],
        units,
        error / len(others),
    )
    lead, closest = min(
        (interval.lower, index) for interval, index in zip(intervals, others, strict=True)
    )
    threshold = _threshold(experiment)
    if confidence >= threshold and lead > 0.0:
        return Verdict(
            leader,
            confidence,
            RecommendedAction.CONCLUDE_WINNER,
            f"{names[leader]} beats every other variant: it is ahead of {names[closest]} by at "
            f"least {lead:.3g} {config.primary_metric} per unit, and the risk of a wrong winner "
            f"stays below {error:.3g} however often you look; the expected loss of choosing it is "
            f"{float(best.expected_loss[leader]):.2g}.",
        )
    band = NEGLIGIBLE_DIFFERENCE * abs(evidence[leader].mean)
    if all(-band < interval.lower and interval.upper < band for interval in intervals):
        return Verdict(
            None,
            confidence,
            RecommendedAction.CONCLUDE_NO_DIFFERENCE,
            f"No variant differs from {names[leader]} by more than {NEGLIGIBLE_DIFFERENCE:.0%} of "
            f"its {config.primary_metric} per unit.",
        )
    if confidence < threshold:
        return _go_on(
            confidence,
            f"{names[leader]} leads and is the best with probability {confidence:.1%}; a winner "
            f"needs {threshold:.1%}.",
        )
    return _go_on(
        confidence,
        f"{names[leader]} leads, but it is not yet safe to say that it beats {names[closest]}: a "
        f"result that may be looked at every moment needs more evidence than one looked at once.",
    )


def _threshold(experiment: Experiment) -> float:
    config = experiment.definition.config
    policy = config.parameters
    if isinstance(policy, BayesianAB):
        return max(config.significance_threshold, policy.early_stopping_threshold)
    return config.significance_threshold


def _ending(experiment: Experiment) -> str:
    if experiment.concluded_at_ms is None:
        return "The experiment was archived without having been started."
    if experiment.winner is None:
        return "The experiment was concluded without a winner."
    winner = experiment.definition.variants[experiment.winner]
    return f"The experiment was concluded with {winner.name}."


def _go_on(confidence: float, reason: str) -> Verdict:
    return Verdict(None, confidence, RecommendedAction.CONTINUE, reason)
