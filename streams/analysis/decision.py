"""Fourth stage of an evaluation: the recommended action, by a rule over the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from streams.experiments.config import ExperimentConfig
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.statistics.evidence import Comparison, Evidence, Guardrail
from streams.experiments.statistics.metric_model import MetricModel
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.stats.alternative import Alternative
from streams.stats.weighting import Weighting

FUTILITY = 0.05
"""Conditional power below which a trial is futile. Always stopping there multiplies the planned
probability of a miss by at most 1 / 0.95: a power of 87 % loses 0.7 points."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Recommendation and its reason; the fields are those of `Snapshot`."""

    winner: int | None
    recommended_action: RecommendedAction
    reason_code: ReasonCode


def decide(experiment: Experiment, primary: MetricModel, evidence: Evidence) -> Verdict:
    """Return the recommended action.

    For a running or paused experiment, the first of these rules that applies:

    1. `investigate`: observed counts deviate from the configured split; more than 0.1 % of the
       assignments or observations were not counted because the deduplication window was full; more
       than 1 % of the units are in several variants; or values of the primary metric are not of the
       declared kind. Nothing is concluded from such data.
    2. `stop_guardrail`: an active variant harms a guardrail metric by more than is tolerated, by
       always-valid p-values that hold for all guardrails and variants together.
    3. `conclude_winner`: every active variant has `min_sample_size` units, whose conversion window
       is over where the metric has one; the leader's P(best) reaches `significance_threshold` (and
       under `bayesian_ab` the `early_stopping_threshold`); and the confidence sequence of its lead
       over each other active variant lies above 0. A sequence that is not exact has no end until
       the tails of the values have been observed (`streams.stats.sequential.tails`). With the
       alternative `better` the control cannot win.
    4. `conclude_no_difference`: every variant has the units that a winner needs, and all those
       sequences lie within `negligible_difference` of the leader's mean.
       Or, with a plan, the conditional power of every variant for the planned lift is at most
       `FUTILITY`.
    5. `continue`.

    The sequences bound the probability that the rule *ever* declares a winner that is not strictly
    better than all others by 1 - significance_threshold (`pairwise_error`), in spite of any number
    of looks and of an allocation that moves. P(best) alone, checked repeatedly, would err far more
    often.

    After the conclusion, only a promoted winner is monitored: `stop_guardrail` when it harms a
    guardrail metric by the data since, with a separate error of 1
    - significance_threshold.

    Args:
        experiment: The experiment.
        primary: Model of its primary metric.
        evidence: The evidence.
    """
    match experiment.status:
        case Status.DRAFT:
            return _continue(ReasonCode.NOT_STARTED)
        case Status.CONCLUDED | Status.ARCHIVED:
            return _decide_ended(experiment, evidence)
        case Status.RUNNING | Status.PAUSED:
            return (
                _alarm(primary, evidence)
                or _lack_of_data(experiment.definition, evidence)
                or _comparison(experiment.definition, evidence)
            )
        case _:
            assert_never(experiment.status)


def worst_harm(guardrails: Sequence[Guardrail]) -> Guardrail | None:
    """Return the guardrail with the strongest evidence of harm; None without harm."""
    tripped = [each for each in guardrails if each.is_tripped]
    return min(tripped, key=lambda each: (each.p_value, each.variant, each.metric), default=None)


def smallest_lead(comparisons: Sequence[Comparison]) -> tuple[float, int]:
    """Return the smallest lower end of the leads, -inf without one, and its variant."""
    return min(
        (-float("inf") if each.lower is None else each.lower, each.variant) for each in comparisons
    )


def threshold_of(config: ExperimentConfig) -> float:
    """Return the P(best) that a winner needs."""
    return config.parameters.winner_threshold(config.significance_threshold)


def _alarm(primary: MetricModel, evidence: Evidence) -> Verdict | None:
    """Return the action that precedes the primary metric; None without one."""
    faults = {
        ReasonCode.SAMPLE_RATIO_MISMATCH: evidence.sample_ratio.is_mismatch,
        ReasonCode.DEDUPLICATION_FULL: evidence.miscounts.is_memory_full,
        ReasonCode.UNITS_IN_SEVERAL_VARIANTS: evidence.miscounts.is_in_several_variants,
        ReasonCode.KIND_CONTRADICTED: primary.contradiction is not None,
    }
    for code, is_found in faults.items():
        if is_found:
            return Verdict(None, RecommendedAction.INVESTIGATE, code)
    if worst_harm(evidence.guardrails) is None:
        return None
    return Verdict(None, RecommendedAction.STOP_GUARDRAIL, ReasonCode.GUARDRAIL_TRIPPED)


def _lack_of_data(definition: ExperimentDefinition, evidence: Evidence) -> Verdict | None:
    """Return the action while data are insufficient for a conclusion; None otherwise."""
    least, active = definition.config.min_sample_size, definition.active
    if min(evidence.units[index] for index in active) < least:
        return _continue(ReasonCode.MIN_SAMPLE_SIZE)
    if min(evidence.compared_units[index] for index in active) < max(least, 1):
        return _continue(ReasonCode.TOO_FEW_MATURE)
    return None


def _comparison(definition: ExperimentDefinition, evidence: Evidence) -> Verdict:
    """Return the action that follows from the lead of the leader."""
    config = definition.config
    is_likely = evidence.probability_best >= threshold_of(config)
    may_win = config.alternative is not Alternative.BETTER or (
        evidence.leader != definition.control_index
    )
    if may_win and is_likely and all(each.is_proven for each in evidence.comparisons):
        return Verdict(evidence.leader, RecommendedAction.CONCLUDE_WINNER, ReasonCode.WINNER)
    if all(
        each.lower is not None
        and each.upper is not None
        and -evidence.negligible < each.lower
        and each.upper < evidence.negligible
        for each in evidence.comparisons
    ):
        return Verdict(None, RecommendedAction.CONCLUDE_NO_DIFFERENCE, ReasonCode.NO_DIFFERENCE)
    if evidence.weighting is Weighting.INVERSE and any(evidence.excluded_units):
        return _continue(ReasonCode.ELIGIBILITY_UNKNOWN)
    if not all(each.tails_seen for each in evidence.comparisons):
        return _continue(ReasonCode.TAILS_UNSEEN)
    outlook = evidence.outlook
    if (
        outlook is not None
        and outlook.conditional_power is not None
        and outlook.conditional_power <= FUTILITY
    ):
        return Verdict(None, RecommendedAction.CONCLUDE_NO_DIFFERENCE, ReasonCode.FUTILE)
    if not may_win:
        return _continue(ReasonCode.CONTROL_LEADS)
    return _continue(ReasonCode.LEAD_UNCERTAIN if is_likely else ReasonCode.PROBABILITY_BEST)


def _decide_ended(experiment: Experiment, evidence: Evidence) -> Verdict:
    """Return the action for an experiment that has ended."""
    promotion, since = experiment.promotion, evidence.since_conclusion
    is_promoted = promotion is not None and not promotion.is_rolled_back
    is_harmful = since is not None and worst_harm(since.guardrails) is not None
    if is_promoted and is_harmful and experiment.status is not Status.ARCHIVED:
        action, code = RecommendedAction.STOP_GUARDRAIL, ReasonCode.PROMOTED_HARMFUL
        return Verdict(experiment.winner, action, code)
    return Verdict(experiment.winner, RecommendedAction.CONTINUE, _ending(experiment))


def _ending(experiment: Experiment) -> ReasonCode:
    promotion = experiment.promotion
    if experiment.concluded_at_ms is None:
        return ReasonCode.ARCHIVED_UNSTARTED
    if experiment.winner is None:
        return ReasonCode.CONCLUDED_WITHOUT_WINNER
    if promotion is None:
        return ReasonCode.CONCLUDED
    return ReasonCode.ROLLED_BACK if promotion.is_rolled_back else ReasonCode.PROMOTED


def _continue(code: ReasonCode) -> Verdict:
    return Verdict(None, RecommendedAction.CONTINUE, code)
