"""What is known of an experiment at one moment: the value that is published and served."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.experiments.lifecycle import Experiment
from streams.experiments.metrics import MetricRole
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, MetricKind


class RecommendedAction(StrEnum):
    """What an experiment's author should do next."""

    CONTINUE = "continue"
    CONCLUDE_WINNER = "conclude_winner"
    CONCLUDE_NO_DIFFERENCE = "conclude_no_difference"
    STOP_GUARDRAIL = "stop_guardrail"
    """A variant harms a guardrail metric by more than is tolerated."""
    INVESTIGATE = "investigate"
    """The data are not what they should be, and nothing is concluded from them."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Integer weights that sum to 65,536, one per variant, with the version that decided them."""

    version: int
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MetricModel:
    """How a metric was read, for all variants alike.

    Attributes:
        name: The metric.
        role: What it is for.
        direction: Where it should go.
        kind: How it is modelled.
        is_declared: Whether that is the declared kind, and not the inferred one.
        contradiction: Why the declared kind is not the one it is modelled by; None if it is, or if
            none was declared.
    """

    name: str
    role: MetricRole
    direction: Direction
    kind: MetricKind
    is_declared: bool
    contradiction: Contradiction | None


@dataclass(frozen=True, slots=True)
class AgainstControl:
    """One metric of one variant against the control.

    All but the last are posterior statements, for one look.

    Attributes:
        probability_better: Probability that the variant's mean is better than the control's.
        expected_loss: What is lost on average by shipping the variant in place of the control, in
            units of the metric, >= 0.
        difference: Posterior mean of variant - control, whatever the direction.
        difference_lower, difference_upper: Ends of its equal-tailed 95 % credible interval.
        relative, relative_lower, relative_upper: The lift: the same over the control's mean. None
            while the control's mean may be 0 or less.
        p_value: Always-valid p-value of "there is no difference", in [0, 1]; those of one role hold
            for all its metrics and variants together (Holm).
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


@dataclass(frozen=True, slots=True)
class MetricReport:
    """One metric of one variant.

    Attributes:
        name: The metric.
        kind: How it is modelled.
        units: Units with at least one observation; of a ratio, those with a denominator, and 0
            while the denominators sum to 0 or less.
        observations: Observations counted.
        total: Exact sum, in micro-units.
        mean: Posterior mean per assigned unit, in units of the metric.
        lower, upper: Equal-tailed 95 % credible interval of the mean.
        against_control: The variant against the control; None of the control itself, of a metric
            that is not compared, because nobody has declared it, and of a ratio without a
            denominator in either of the two.
    """

    name: str
    kind: MetricKind
    units: int
    observations: int
    total: int
    mean: float
    lower: float
    upper: float
    against_control: AgainstControl | None = None

    @property
    def is_defined(self) -> bool:
        """Whether the mean exists: a ratio without a denominator is a prior and no result."""
        return self.kind is not MetricKind.RATIO or self.units > 0


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant.

    Attributes:
        assignments: Units assigned (impressions, for the unit `impression`).
        observations: Observations of all metrics.
        mean: Observed mean of the primary metric per assigned unit, as units of different times
            count; 0 without units.
        lower, upper: Equal-tailed 95 % credible interval of that mean.
        probability_best: Posterior probability that its mean is the best.
        expected_loss: Expected amount by which the best mean exceeds its mean.
        metrics: Every metric seen or declared, by name.
    """

    assignments: int
    observations: int
    mean: float
    lower: float
    upper: float
    probability_best: float
    expected_loss: float
    metrics: tuple[MetricReport, ...]

    def is_defined(self, name: str) -> bool:
        """Return whether the mean of a metric exists; True of one that is not reported."""
        return all(metric.is_defined for metric in self.metrics if metric.name == name)


@dataclass(frozen=True, slots=True)
class CellPlace:
    """Where a cell ended: the last offset it has folded of its source partition."""

    source: str
    partition: int
    hw: int


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What a contextual policy decides by: a `LinearModel`, as plain numbers.

    Attributes:
        noise: Standard deviation of the unit values within the variants.
        units: Units of all variants in it.
        coefficients: Of each variant, in the order of the definition.
        triangles: Covariance of each, packed as `LinearModel.triangles` does.
    """

    noise: float
    units: int
    coefficients: tuple[tuple[float, ...], ...]
    triangles: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the leader is ahead of another variant, by the primary metric.

    Attributes:
        variant: Index of the other one.
        lower, upper: Ends of the confidence sequence of the lead, in units of the metric: how much
            better the leader's mean is, in the direction of the metric. None without an end.
        p_value: Always-valid p-value of "there is no difference", in [0, 1].
    """

    variant: int
    lower: float | None
    upper: float | None
    p_value: float


@dataclass(frozen=True, slots=True)
class SampleRatioFinding:
    """Whether units arrive as they were shared out.

    Attributes:
        p_value: Always-valid p-value of "they do", in [0, 1].
        ratios: Units of each variant over those it should have; None while it should have none.
        is_mismatch: Whether the p-value is so small that nothing is concluded.
    """

    p_value: float
    ratios: tuple[float | None, ...]
    is_mismatch: bool


@dataclass(frozen=True, slots=True)
class GuardrailFinding:
    """One guardrail metric of one variant.

    Attributes:
        metric: Name of the metric.
        variant: Index of the variant.
        tolerated_harm: Harm that is tolerated, as a share of the control's mean.
        harm: Observed harm, as a share of the control's mean; below 0 if the variant is better.
            None while the control's mean is 0, and of a ratio without a denominator.
        p_value: Always-valid p-value of "the harm is what is tolerated, or less", corrected for the
            number of guardrails and variants (Holm); 1 while there is not enough to ask.
        is_tripped: Whether the harm is beyond what is tolerated.
    """

    metric: str
    variant: int
    tolerated_harm: float
    harm: float | None
    p_value: float
    is_tripped: bool


@dataclass(frozen=True, slots=True)
class SinceConclusion:
    """How a promoted winner does beside the control share, by what came since the conclusion alone.

    Attributes:
        variant: Index of the variant that was promoted.
        units: Units that were assigned to it since.
        control_units: Units that were assigned to the control since.
        guardrails: Every guardrail metric of that variant, with p-values that hold for all of them
            together, at every look since the conclusion.
    """

    variant: int
    units: int
    control_units: int
    guardrails: tuple[GuardrailFinding, ...]


@dataclass(frozen=True, slots=True)
class Miscounts:
    """What could not be counted, or not as it should: a fault of the data, not of the variants.

    Attributes:
        unremembered_units: Assignments not counted because the memory of units was full.
        unremembered_observations: Observations not counted because that of events was.
        is_memory_full: Whether either is so large a share that nothing is concluded: numerator and
            denominator of a mean no longer are of the same units.
        crossed_units: Units assigned to more than one variant.
        is_crossed: Whether they are so large a share of the units that nothing is concluded.
        most_events: Observations of the unit that has most of one metric; 0 while none has several.
        full_units: Units with so many observations of one metric that further ones do not count.
        is_heavy: Whether one unit has so large a share of the observations that it is a finding.
    """

    unremembered_units: int
    unremembered_observations: int
    is_memory_full: bool
    crossed_units: int
    is_crossed: bool
    most_events: int
    full_units: int
    is_heavy: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the recommended action follows from, besides the definition.

    Attributes:
        leader: Index of the variant that is most probably the best by the primary metric.
        probability_best: Posterior probability that it is, in [0, 1].
        expected_loss: What is lost on average by choosing it, in units of the metric, >= 0.
        relative_loss: The same over the absolute value of its mean; None while that is 0.
        value_remaining: 95 % quantile of how much better than the leader the best variant may yet
            turn out, over the leader's mean, >= 0; None while that may have either sign.
        error: Probability of ever naming a winner that is none, however often one looks.
        planned_units: Units a variant that were planned before the start, if the comparison rests
            on a plan; else 0.
        units: Units of every variant.
        units_with_value: Those with a value of the primary metric.
        negligible: Lead below which there is none, in units of the metric.
        duration_ms: Time from the start, or from the first event after it, to the newest event.
        comparisons: The leader against every other variant, in their order.
        sample_ratio: Whether units arrive as they were shared out.
        guardrails: Every guardrail metric of every variant but the control.
        since_conclusion: How a promoted winner does; None where there is none.
        miscounts: What could not be counted, or not as it should.
    """

    leader: int
    probability_best: float
    expected_loss: float
    relative_loss: float | None
    value_remaining: float | None
    error: float
    planned_units: int
    units: tuple[int, ...]
    units_with_value: tuple[int, ...]
    negligible: float
    duration_ms: int
    comparisons: tuple[Comparison, ...]
    sample_ratio: SampleRatioFinding
    guardrails: tuple[GuardrailFinding, ...]
    since_conclusion: SinceConclusion | None
    miscounts: Miscounts


@dataclass(frozen=True, slots=True)
class FeatureUse:
    """How often a feature of a contextual experiment said something.

    Attributes:
        name: Its name.
        units: Units assigned, in all variants.
        unknown: Those for which it had none of its declared values, or none at all.
    """

    name: str
    units: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An evaluation that failed; lifecycle and version of its snapshot are new all the same.

    Attributes:
        code: Stable name: `EVALUATION_FAILED`, or `SNAPSHOT_TOO_LARGE`.
        error: Class of the error that ended it, or its own stable code.
        message: One sentence for a person, at most 200 characters.
        statistics_version: Version of the snapshot that statistics and weights are of; 0 if there
            was none, and then they are those of an experiment of which nothing is known.
    """

    code: str
    error: str
    message: str
    statistics_version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is published of an experiment.

    Attributes:
        experiment: Definition and lifecycle.
        version: Number of commands applied + sum over the cells of (hw + 1). It grows with every
            event folded, and does not depend on batching, so a replay gets the same.
        allocation: Weights in force; under a contextual policy, those of a request of which nothing
            is known.
        variants: Reports, in the order of the definition.
        winner: Index of the variant that is certain enough to win; None if there is none, and the
            chosen one once concluded.
        confidence: Posterior probability of the leading variant to be the best, in [0, 1].
        recommended_action: What to do next.
        reason: One sentence that says why.
        duplicates: Repeated events that were not counted.
        cells: Cells it was made from, in order of source and partition.
        as_of_ms: Time of the newest event in it; 0 without events.
        model: What a contextual policy decides by; None under every other one.
        metrics: How every metric declared or seen was read, by name. Empty before the first
            evaluation.
        evidence: What the recommended action follows from. None before the first evaluation.
        features: Features whose values are texts, in order of their declaration.
        failure: Why the statistics are not those of this version; None if they are.
    """

    experiment: Experiment
    version: int
    allocation: Allocation
    variants: tuple[VariantReport, ...]
    winner: int | None
    confidence: float
    recommended_action: RecommendedAction
    reason: str
    duplicates: int
    cells: tuple[CellPlace, ...]
    as_of_ms: int
    model: PublishedModel | None = None
    metrics: tuple[MetricModel, ...] = ()
    evidence: Evidence | None = None
    features: tuple[FeatureUse, ...] = ()
    failure: Failure | None = None

    def primary_mean(self, index: int) -> tuple[float | None, float | None, float | None]:
        """Return mean, lower and upper end of a variant's primary metric; None where undefined."""
        report = self.variants[index]
        if not report.is_defined(self.experiment.definition.config.primary_metric):
            return None, None, None
        return report.mean, report.lower, report.upper
