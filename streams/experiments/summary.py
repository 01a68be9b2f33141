"""Summary of an experiment in one line of a list: urgency, health and headline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from streams.experiments.lifecycle import Status
from streams.experiments.schedule import is_held
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction

GOING_ON = frozenset({Status.RUNNING, Status.PAUSED})


class Urgency(IntEnum):
    """Rank of an experiment among those that need a decision; the lowest comes first."""

    INVESTIGATE = 0
    STOP_GUARDRAIL = 1
    CONCLUDE = 2
    PLANNED_SIZE_REACHED = 3
    CONTINUE = 4
    DRAFT = 5
    CONCLUDED = 6
    ARCHIVED = 7


class Health(StrEnum):
    """Whether the statistics of an experiment can be used."""

    OK = "ok"
    WARNING = "warning"
    """They can, but something is unexpected."""
    ERROR = "error"
    """They cannot, or a variant is harmful."""


@dataclass(frozen=True, slots=True)
class Headline:
    """Subject of the recommendation, by its reason code; fields that do not apply are None.

    Attributes:
        variant: Index of the variant concerned: the harmful one, the one whose units deviate most
            from the split, the one with the fewest units, or else the leader.
        metric: The metric concerned.
        value: Of a sample ratio units over the expected ones, of a guardrail the harm, of a winner
            the smallest lead over another variant, of too few units their number, of a probability
            that of the leader.
        limit: Threshold for the value.
    """

    variant: int | None = None
    metric: str | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of an experiment.

    Attributes:
        urgency: Its rank.
        health: Whether its statistics can be used.
        health_codes: Codes of errors and warnings.
        headline: Subject of the recommendation.
        lead: Index of the variant that is most probably the best; None before the first unit.
        units: Units that count, of all variants.
        planned_units: Planned units of all active variants; None without a plan.
        progress: Share of the planned information; None without a plan.
    """

    urgency: Urgency
    health: Health
    health_codes: tuple[str, ...]
    headline: Headline
    lead: int | None
    units: int
    planned_units: int | None
    progress: float | None


def summary_of(snapshot: Snapshot) -> Summary:
    """Return the summary of an experiment."""
    experiment, evidence = snapshot.experiment, snapshot.evidence
    plan = experiment.definition.config.plan
    units = 0 if evidence is None else sum(evidence.units)
    health, codes = _health(snapshot)
    return Summary(
        urgency=urgency_of(snapshot),
        health=health,
        health_codes=codes,
        headline=_headline(snapshot),
        lead=evidence.leader if evidence is not None and units else None,
        units=units,
        planned_units=None if plan is None else plan.units * len(experiment.definition.active),
        progress=None if evidence is None else evidence.progress,
    )


_BY_ACTION = {
    RecommendedAction.INVESTIGATE: Urgency.INVESTIGATE,
    RecommendedAction.STOP_GUARDRAIL: Urgency.STOP_GUARDRAIL,
    RecommendedAction.CONCLUDE_WINNER: Urgency.CONCLUDE,
    RecommendedAction.CONCLUDE_NO_DIFFERENCE: Urgency.CONCLUDE,
}


def urgency_of(snapshot: Snapshot) -> Urgency:
    """Return the rank of an experiment."""
    status, action = snapshot.experiment.status, snapshot.recommended_action
    is_harmful = action is RecommendedAction.STOP_GUARDRAIL
    if status is Status.CONCLUDED:
        return Urgency.STOP_GUARDRAIL if is_harmful else Urgency.CONCLUDED
    if status not in GOING_ON:
        return Urgency.DRAFT if status is Status.DRAFT else Urgency.ARCHIVED
    urgency = _BY_ACTION.get(action, Urgency.CONTINUE)
    progress = None if snapshot.evidence is None else snapshot.evidence.progress
    if urgency is Urgency.CONTINUE and progress is not None and progress >= 1.0:
        return Urgency.PLANNED_SIZE_REACHED
    return urgency


def health_of(snapshot: Snapshot) -> Health:
    """Return whether the statistics of an experiment can be used."""
    return _health(snapshot)[0]


def _health(snapshot: Snapshot) -> tuple[Health, tuple[str, ...]]:
    if snapshot.experiment.status in {Status.DRAFT, Status.ARCHIVED}:
        return Health.OK, ()
    codes, warnings = [], []
    if snapshot.failure is not None:
        codes.append(str(snapshot.failure.code))
    if snapshot.recommended_action in {
        RecommendedAction.INVESTIGATE,
        RecommendedAction.STOP_GUARDRAIL,
    }:
        codes.append(str(snapshot.reason_code))
    if is_held(snapshot.experiment.history):
        warnings.append("SCHEDULE_HELD")
    if any(model.contradiction is not None for model in snapshot.metrics.values()):
        warnings.append("KIND_CONTRADICTED")
    if snapshot.evidence is not None:
        warnings += _miscounted(snapshot.evidence)
    both = tuple(dict.fromkeys((*codes, *warnings)))
    if codes:
        return Health.ERROR, both
    return (Health.WARNING, both) if warnings else (Health.OK, ())


def _miscounted(evidence: Evidence) -> list[str]:
    found = []
    if evidence.miscounts.is_heavy:
        found.append("HEAVY_UNIT")
    if evidence.miscounts.unremembered_units or evidence.miscounts.unremembered_observations:
        found.append("DEDUPLICATION_FULL")
    if evidence.miscounts.units_in_several_variants:
        found.append("UNITS_IN_SEVERAL_VARIANTS")
    return found


def _headline(snapshot: Snapshot) -> Headline:
    evidence, config = snapshot.evidence, snapshot.experiment.definition.config
    if evidence is None:
        return Headline()
    match snapshot.reason_code:
        case ReasonCode.SAMPLE_RATIO_MISMATCH:
            return _deviating(evidence)
        case ReasonCode.GUARDRAIL_TRIPPED | ReasonCode.PROMOTED_HARMFUL:
            return _harmful(evidence)
        case ReasonCode.MIN_SAMPLE_SIZE | ReasonCode.TOO_FEW_MATURE:
            active = snapshot.experiment.definition.active
            fewest = min(active, key=lambda index: evidence.compared_units[index])
            value = float(evidence.compared_units[fewest])
            return Headline(fewest, None, value, float(config.min_sample_size))
        case ReasonCode.WINNER | ReasonCode.LEAD_UNCERTAIN:
            lowers = [each.lower for each in evidence.comparisons]
            known = [each for each in lowers if each is not None]
            lead = min(known) if known and len(known) == len(lowers) else None
            return Headline(evidence.leader, config.primary_metric, lead, 0.0)
        case ReasonCode.KIND_CONTRADICTED:
            return Headline(None, config.primary_metric)
        case _:
            probability = evidence.probability_best
            threshold = config.significance_threshold
            return Headline(evidence.leader, config.primary_metric, probability, threshold)


def _deviating(evidence: Evidence) -> Headline:
    ratios = {
        index: ratio
        for index, ratio in enumerate(evidence.sample_ratio.ratios)
        if ratio is not None
    }
    if not ratios:
        return Headline()
    index = max(ratios, key=lambda each: abs(ratios[each] - 1.0))
    return Headline(index, None, ratios[index], 1.0)


def _harmful(evidence: Evidence) -> Headline:
    since = evidence.since_conclusion
    guardrails = evidence.guardrails if since is None else since.guardrails
    tripped = [each for each in guardrails if each.is_tripped]
    if not tripped:
        return Headline()
    worst = max(tripped, key=lambda each: each.harm or 0.0)
    return Headline(worst.variant, worst.metric, worst.harm, worst.tolerated_harm)
