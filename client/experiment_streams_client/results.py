"""What the calls return: the JSON of the API as frozen, typed values.

Fields that a newer engine adds are ignored, so an older client goes on working.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.http.models.responses import (
    Assignment,
    AssignmentsPage,
    ErrorDetails,
    ErrorResponse,
    Experiment,
    ExperimentsPage,
    ResponseModel,
)


class AgainstControl(ResponseModel):
    """One metric of one variant against the control.

    Attributes:
        probability_better: Probability that the variant's mean is better than the control's.
        expected_loss: What is lost on average by shipping the variant in place of the control.
        difference: Posterior mean of variant - control, whatever the direction.
        difference_lower, difference_upper: Its equal-tailed 95 % credible interval.
        relative, relative_lower, relative_upper: The same over the control's mean; None while that
            may be 0 or less.
        p_value: Always-valid p-value of no difference, corrected within the role of the metric.
    """

    probability_better: float
    expected_loss: float
    difference: float
    difference_lower: float
    difference_upper: float
    relative: float | None
    relative_lower: float | None
    relative_upper: float | None
    p_value: float


class Undefined(ResponseModel):
    """Why the mean of a metric does not exist, as a stable code and one sentence."""

    code: str
    message: str


class MetricStats(ResponseModel):
    """One metric of one variant.

    Attributes:
        kind: `binary`, `count`, `revenue`, `continuous` or `ratio`.
        units: Units with at least one observation; of a ratio, those with a denominator.
        observations: Observations counted.
        sum_micro: Exact sum, in micro-units of the metric.
        mean: Posterior mean per assigned unit; None where it does not exist.
        lower, upper: Equal-tailed 95 % credible interval of the mean; None where it does not exist.
        undefined: Why the mean does not exist; None where it does.
        against_control: The variant against the control; None of the control itself, of a metric
            that the experiment does not name, and where the mean of either does not exist.
    """

    kind: str
    units: int
    observations: int
    sum_micro: int
    mean: float | None
    lower: float | None
    upper: float | None
    undefined: Undefined | None = None
    against_control: AgainstControl | None = None


class VariantStats(ResponseModel):
    """What is known of a variant.

    Attributes:
        assignments: Units assigned; impressions where the unit is the impression.
        observations: Observations of all metrics.
        mean: Mean of the primary metric per assigned unit; None of a ratio without a denominator.
        lower, upper: Equal-tailed 95 % credible interval of that mean; None where it has none.
        probability_best: Posterior probability that its mean is the best.
        expected_loss: Expected amount by which the best mean exceeds its mean.
        allocation: Share of the traffic it gets now, in [0, 1].
        metrics: Every metric, by name.
    """

    assignments: int
    observations: int
    mean: float | None
    lower: float | None
    upper: float | None
    probability_best: float
    expected_loss: float
    allocation: float
    metrics: dict[str, MetricStats]


class VariantResult(ResponseModel):
    """A variant with its statistics."""

    id: str
    name: str
    is_control: bool
    stats: VariantStats


class Winner(ResponseModel):
    """The variant that is certain enough to win, or the one the experiment was concluded with."""

    id: str
    name: str


class Contradiction(ResponseModel):
    """Why a metric is not modelled by the kind that was declared."""

    code: str
    message: str


class Periods(ResponseModel):
    """How units count that were assigned at different times, for posteriors and policy.

    Attributes:
        half_life: Seconds after which a unit counts half; None if none is forgotten.
        delayed: Whether a unit counts for the share of its observations that can have arrived.
        stratified: Whether variants are compared within periods.
    """

    half_life: int | None = None
    delayed: bool = False
    stratified: bool = False


class MetricModel(ResponseModel):
    """How a metric was read.

    Attributes:
        role: `primary`, `secondary`, `guardrail` or `observed` (the experiment does not name it).
        direction: `increase` or `decrease`.
        kind: How it is modelled.
        is_declared: Whether that is the declared kind, and not the inferred one.
        contradiction: Why the declared kind is not that; None if it is, or if none was declared.
        periods: How units of different times count; None for all alike.
    """

    role: str
    direction: str
    kind: str
    is_declared: bool
    contradiction: Contradiction | None
    periods: Periods | None = None


class Comparison(ResponseModel):
    """How far the leader is ahead of another variant.

    Attributes:
        variant_id: The other one.
        lower, upper: Confidence sequence of the lead, in the direction of the metric; None without
            an end.
        p_value: Always-valid p-value of no difference.
    """

    variant_id: str
    lower: float | None
    upper: float | None
    p_value: float


class SampleRatio(ResponseModel):
    """Whether units arrive as they were shared out.

    Attributes:
        p_value: Always-valid p-value of "they do".
        is_mismatch: Whether it is so small that nothing is concluded.
        ratios: Units over those there should be, by variant; None while there should be none.
    """

    p_value: float
    is_mismatch: bool
    ratios: dict[str, float | None]


class Guardrail(ResponseModel):
    """One guardrail metric of one variant.

    Attributes:
        tolerated_harm, harm: Tolerated and observed harm, as shares of the control's mean.
        p_value: Always-valid p-value of no harm beyond what is tolerated.
        is_tripped: Whether there is.
    """

    metric: str
    variant_id: str
    tolerated_harm: float
    harm: float | None
    p_value: float
    is_tripped: bool


class SinceConclusion(ResponseModel):
    """How a promoted winner does beside the control share, by what came since the conclusion alone.

    Attributes:
        variant_id: The variant that was promoted.
        units: Units assigned since, to it and to the control.
        guardrails: Its guardrails; the p-values hold for all of them together.
    """

    variant_id: str
    units: dict[str, int]
    guardrails: tuple[Guardrail, ...]


class Miscounts(ResponseModel):
    """What could not be counted, or not as it should.

    Attributes:
        unremembered_units, unremembered_observations: Events not counted because the memory that
            tells them from repetitions was full.
        is_memory_full: Whether that is so large a share that nothing is concluded.
        units_in_several_variants: Units assigned to more than one variant.
        is_in_several_variants: Whether that is so large a share that nothing is concluded.
        most_events: Observations of the unit that has most of one metric; 0 while none has several.
        full_units: Units with so many observations of one metric that further ones do not count.
        is_heavy: Whether one unit has so large a share of the observations that it is a finding.
    """

    unremembered_units: int
    unremembered_observations: int
    is_memory_full: bool
    units_in_several_variants: int
    is_in_several_variants: bool
    most_events: int
    full_units: int
    is_heavy: bool


class Evidence(ResponseModel):
    """What the recommended action follows from.

    Attributes:
        leader: Id of the variant that is most probably the best.
        probability_best: Probability that it is.
        expected_loss, relative_loss: What is lost on average by choosing it; over its mean.
        value_remaining: How much better the best variant may yet turn out, over its mean: with
            probability 95 % no more than that. None while that mean may have either sign.
        error: Probability of ever naming a wrong winner.
        planned_units: Units a variant planned before the start; 0 without a plan.
        units, units_with_value: Units of every variant, and those with a value.
        negligible: Lead below which there is none.
        duration_ms: Time from the oldest to the newest event.
        since_conclusion: How a promoted winner does; None where there is none.
        promotion_obstacles: What stands in the way of a promotion, as stable names.
    """

    leader: str
    probability_best: float
    expected_loss: float
    relative_loss: float | None
    value_remaining: float | None
    error: float
    planned_units: int
    units: dict[str, int]
    units_with_value: dict[str, int]
    negligible: float
    duration_ms: int
    comparisons: tuple[Comparison, ...]
    sample_ratio: SampleRatio
    guardrails: tuple[Guardrail, ...]
    since_conclusion: SinceConclusion | None
    miscounts: Miscounts
    promotion_obstacles: tuple[str, ...]


class FeatureUse(ResponseModel):
    """How often a feature of a contextual experiment said something.

    Attributes:
        units: Units assigned.
        unknown_units: Those for which it had none of its declared values, or none at all.
        unknown_share: Their share of the units, in [0, 1].
    """

    name: str
    units: int
    unknown_units: int
    unknown_share: float


class Failure(ResponseModel):
    """Why the statistics are older than the experiment's version.

    Attributes:
        code: `EVALUATION_FAILED` or `SNAPSHOT_TOO_LARGE`.
        error: Class of the error.
        message: One sentence for a person.
        statistics_version: Version that the statistics and weights are of; 0 if there were none.
    """

    code: str
    error: str
    message: str
    statistics_version: int


class MisspeltMetric(ResponseModel):
    """A declared metric without an observation, and an undeclared one like it that has some.

    Attributes:
        metric: Name that is declared.
        observed: Name that is observed.
        observations: How often, in all variants.
    """

    metric: str
    observed: str
    observations: int


class Stats(ResponseModel):
    """What is known of an experiment.

    Attributes:
        version: Grows with every event counted.
        as_of: Time of the newest event counted, in milliseconds since the epoch; 0 without events.
        duplicates: Repeated events that were not counted.
        confidence: Posterior probability of the leading variant to be the best.
        recommended_action: `continue`, `conclude_winner`, `conclude_no_difference`,
            `stop_guardrail` or `investigate`.
        reason: One sentence that says why.
        metrics: How every metric was read, by name.
        evidence: What the action follows from; None for a moment after an upgrade of the workers.
        features: Features whose values are texts; empty unless the policy is contextual.
        misspelt: Declared metrics that are probably observed under another name.
        failure: Why the statistics are older than the version; None if they are not.
    """

    experiment_id: str
    name: str
    type: str
    unit: str
    status: str
    primary_metric: str
    version: int
    as_of: int
    total_assignments: int
    total_observations: int
    duplicates: int
    variants: tuple[VariantResult, ...]
    winner: Winner | None
    confidence: float
    recommended_action: str
    reason: str
    metrics: dict[str, MetricModel] = Field(default_factory=dict)
    evidence: Evidence | None = None
    features: tuple[FeatureUse, ...] = ()
    misspelt: tuple[MisspeltMetric, ...] = ()
    failure: Failure | None = None


class Experiments(tuple[Experiment, ...]):  # noqa: SLOT001 - a tuple that knows one thing more
    """Experiments of one answer.

    Attributes:
        next_cursor: Leads to the next page; None on the last one.
    """

    next_cursor: str | None = None


def experiments(payload: Any) -> Experiments:
    """Return the experiments of a `GET /experiments`."""
    page = ExperimentsPage.model_validate(payload)
    found = Experiments(page.experiments)
    found.next_cursor = page.next_cursor
    return found


def assignments(payload: Any) -> tuple[tuple[Assignment | ErrorDetails, ...], ...]:
    """Return the assignments of a `POST /assign`, or why there is none, one row per unit."""
    rows = AssignmentsPage.model_validate(payload).assignments
    return tuple(
        tuple(each.error if isinstance(each, ErrorResponse) else each for each in row)
        for row in rows
    )
