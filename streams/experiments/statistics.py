"""The statistics of an experiment: one definition for Avro, JSON, the client and the terminal.

Nothing here needs numpy, a policy or a server, so a client may import it. What is stored are codes
and numbers; sentences are properties, or rendered by `streams.analysis.reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field, computed_field

from streams.experiments.dimension_statistics import DimensionReport
from streams.experiments.undefined_sequence import UndefinedSequence
from streams.model.published import ExactInteger, Open, PerVariant, Published, VariantIndex
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, MetricKind
from streams.stats.posterior_parameters import MetricPosterior
from streams.stats.weighting import Weighting


class MetricRole(StrEnum):
    """Role of a metric in its experiment."""

    PRIMARY = "primary"
    """The metric that decides."""
    SECONDARY = "secondary"
    """Compared, without effect on the decision."""
    GUARDRAIL = "guardrail"
    """A metric that must not be harmed."""
    OBSERVED = "observed"
    """Observed without being declared."""


class RecommendedAction(StrEnum):
    """Recommendation to the author of an experiment."""

    CONTINUE = "continue"
    CONCLUDE_WINNER = "conclude_winner"
    CONCLUDE_NO_DIFFERENCE = "conclude_no_difference"
    STOP_GUARDRAIL = "stop_guardrail"
    """A variant harms a guardrail metric by more than is tolerated."""
    INVESTIGATE = "investigate"
    """The data are faulty, and nothing is concluded from them."""


class ReasonCode(StrEnum):
    """Stable code of the reason for a recommendation; the evidence has its numbers."""

    NOT_STARTED = "NOT_STARTED"
    SAMPLE_RATIO_MISMATCH = "SAMPLE_RATIO_MISMATCH"
    """Observed counts deviate from the configured split."""
    DEDUPLICATION_FULL = "DEDUPLICATION_FULL"
    """Too many events were not counted, because a deduplication memory was full."""
    UNITS_IN_SEVERAL_VARIANTS = "UNITS_IN_SEVERAL_VARIANTS"
    KIND_CONTRADICTED = "KIND_CONTRADICTED"
    """The primary metric has values that are not of its declared kind."""
    GUARDRAIL_TRIPPED = "GUARDRAIL_TRIPPED"
    MIN_SAMPLE_SIZE = "MIN_SAMPLE_SIZE"
    """A variant has fewer units than `min_sample_size`."""
    TOO_FEW_MATURE = "TOO_FEW_MATURE"
    """A variant has fewer units whose conversion window is over than `min_sample_size`."""
    TAILS_UNSEEN = "TAILS_UNSEEN"
    """The values of the primary metric are too skew for so few units to compare their means."""
    WINNER = "WINNER"
    """The leader beats every other variant."""
    NO_DIFFERENCE = "NO_DIFFERENCE"
    """No variant differs from the leader by more than is negligible."""
    FUTILE = "FUTILE"
    """The planned lift would hardly be found any more."""
    PROBABILITY_BEST = "PROBABILITY_BEST"
    """P(best) of the leader is below the threshold."""
    ELIGIBILITY_UNKNOWN = "ELIGIBILITY_UNKNOWN"
    """Not all variants were eligible for all units, and which were is not kept by pairs."""
    LEAD_UNCERTAIN = "LEAD_UNCERTAIN"
    """The confidence sequence of the lead does not exclude 0."""
    CONTROL_LEADS = "CONTROL_LEADS"
    """The control leads, and is no winner: only a better variant is tested for."""
    ARCHIVED_UNSTARTED = "ARCHIVED_UNSTARTED"
    CONCLUDED = "CONCLUDED"
    """Concluded with a winner, which is no longer assigned."""
    CONCLUDED_WITHOUT_WINNER = "CONCLUDED_WITHOUT_WINNER"
    PROMOTED = "PROMOTED"
    """Concluded with a winner, which is assigned beside a control share."""
    PROMOTED_HARMFUL = "PROMOTED_HARMFUL"
    """The promoted winner trips a guardrail by what came since the conclusion."""
    ROLLED_BACK = "ROLLED_BACK"
    EVALUATION_FAILED = "EVALUATION_FAILED"
    """The statistics could not be computed."""
    SNAPSHOT_TOO_LARGE = "SNAPSHOT_TOO_LARGE"
    """The snapshot did not fit its topic."""


@dataclass(frozen=True, slots=True)
class Periods(Published):
    """Weights of units that were assigned at different times, for posteriors and policy.

    Attributes:
        half_life: Seconds after which a unit counts half; None if none is forgotten.
        delayed: Whether a unit counts for the share of its observations that can have arrived.
        stratified: Whether variants are compared within periods.
    """

    half_life: int | None = None
    delayed: bool = False
    stratified: bool = False


@dataclass(frozen=True, slots=True)
class MetricModel(Published):
    """Reading of a metric, for all variants alike.

    Attributes:
        role: Its role.
        direction: Where it should go.
        kind: How it is modelled.
        is_declared: Whether that is the declared kind, and not the inferred one.
        contradiction: Why the declared kind is not the one it is modelled by; None if it is, or if
            none was declared.
        periods: How units of different times count; None for all alike.
        variance_removed: Share of its variance that the covariates explain, and that is taken out
            of its comparisons, in [0, 1]; None without covariates.
        conversion_window: Seconds after the assignment of a unit during which its observations
            count; the units whose window is over are compared. 0 for none: all units are.
        conversion_delay: Seconds after the assignment before which they do not count.
        only_mature: Whether units whose window is not over yet are left out of comparisons.
        winsorized_at: Cap at the declared percentile of the values so far, in units of the metric;
            None if it is not winsorized, or has no value above 0 yet.
    """

    role: Open[MetricRole]
    direction: Open[Direction]
    kind: Open[MetricKind]
    is_declared: bool
    contradiction: Contradiction | None = None
    periods: Periods | None = None
    variance_removed: float | None = None
    conversion_window: int = 0
    winsorized_at: float | None = None
    conversion_delay: int = 0
    only_mature: bool = True

    @property
    def maturity(self) -> int:
        """Seconds after which a unit is compared; 0 for at once."""
        return self.conversion_window if self.only_mature else 0


@dataclass(frozen=True, slots=True)
class AgainstControl(Published):
    """One metric of one variant against the control.

    All but p-value and sequence are posterior statements, for one look. A look that is chosen by
    what it shows, as that at which a winner is declared, shows too large a lift: there, the ends of
    the sequence hold.

    Attributes:
        probability_better: Probability that the variant's mean is better than the control's.
        expected_loss: Average loss of shipping the variant in place of the control, in units of
            the metric, >= 0.
        difference: Posterior mean of variant - control, whatever the direction.
        difference_lower, difference_upper: Ends of its equal-tailed 95 % credible interval.
        relative, relative_lower, relative_upper: The lift: the same over the control's mean. None
            while the control's mean may be 0 or less.
        p_value: Always-valid p-value of "there is no difference", in [0, 1]; those of one role hold
            for all its metrics and variants together (Holm).
        sequence_lower, sequence_upper: Ends of the confidence sequence of the difference, of the
            boundary that decides: they hold at every look at once, for all variants together. None
            without an end, and of all but the primary metric.
        relative_sequence_lower, relative_sequence_upper: The same over the control's mean.
        sequence_undefined: Reason why an end of the sequence is missing; None if it has both.
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
    sequence_lower: float | None = None
    sequence_upper: float | None = None
    relative_sequence_lower: float | None = None
    relative_sequence_upper: float | None = None
    sequence_undefined: UndefinedSequence | None = None


@dataclass(frozen=True, slots=True)
class Undefined(Published):
    """Reason why the mean of a metric does not exist.

    Attributes:
        code: Stable code.
        message: One sentence for a person.
    """

    code: str
    message: str


_NO_DENOMINATOR = Undefined(
    "NO_DENOMINATOR", "the denominator of this variant sums to 0: there is no ratio yet"
)

_NO_UNITS = Undefined("NO_UNITS", "no unit of this variant has been counted for this metric yet")


@dataclass(frozen=True, slots=True)
class MetricReport(Published):
    """One metric of one variant.

    Attributes:
        kind: How it is modelled.
        units: Units with at least one observation; of a ratio, those with a denominator, and 0
            while the denominators sum to 0 or less.
        observations: Observations counted.
        sum_micro: Exact sum, in micro-units.
        mean: Posterior mean per assigned unit, in units of the metric; of a quantile its estimate.
            None where it does not exist: without a unit, of a ratio without a denominator, and of a
            quantile without a value. Of variants whose weights moved, as if their units had come at
            the same times.
        lower, upper: Equal-tailed 95 % credible interval of the mean; of a quantile the ends of its
            95 % confidence sequence, which hold at every look. None where they do not exist.
        against_control: The variant against the control; None of the control itself, of a metric
            that is not declared, and where the mean of either of the two does not exist.
        posterior: Distribution that `mean` and, but for a quantile, `lower` and `upper` are of;
            where units of different times count differently (`MetricModel.periods`), of now. None
            where the mean does not exist, or a parameter is beyond the range of doubles.
    """

    kind: Open[MetricKind]
    units: int
    observations: int
    sum_micro: ExactInteger
    mean: float | None
    lower: float | None
    upper: float | None
    against_control: AgainstControl | None = None
    posterior: MetricPosterior | None = None

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def undefined(self) -> Undefined | None:
        """Reason why the mean does not exist; None where it does."""
        if self.mean is not None:
            return None
        return _NO_DENOMINATOR if self.kind is MetricKind.RATIO else _NO_UNITS


@dataclass(frozen=True, slots=True)
class VariantReport(Published):
    """One variant.

    Attributes:
        assignments: Units assigned (impressions, for the unit `impression`).
        exposures: Units exposed, which are those that everything else counts; None where a unit
            counts from its assignment.
        observations: Observations of all metrics.
        mean, lower, upper: Those of the primary metric in `metrics`.
        probability_best: Posterior probability that its mean is the best.
        expected_loss: Expected amount by which the best mean exceeds its mean.
        metrics: Every metric seen or declared, by name, in the order of the names.
    """

    assignments: int
    observations: int
    mean: float | None
    lower: float | None
    upper: float | None
    probability_best: float
    expected_loss: float
    metrics: dict[str, MetricReport]
    exposures: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison(Published):
    """The lead of the leader over another variant, by the primary metric.

    Attributes:
        variant: Index of the other one.
        lower, upper: Ends of the confidence sequence of the lead, in units of the metric: how much
            better the leader's mean is, in the direction of the metric. None without an end.
        p_value: Always-valid p-value of "there is no difference", in [0, 1], of the boundary that
            the ends are of; with the alternative `better`, of "the leader is not better".
        error: Two-sided error of the ends, in (0, 1); with the alternative `better`, of each end.
            The lead is proven when `p_value` is at most this and `lower` not below 0.
        tails_seen: Whether values of both are known well enough for a lower end; always where the
            sequence is exact.
    """

    variant: VariantIndex
    lower: float | None
    upper: float | None
    p_value: float
    error: float
    tails_seen: bool = True

    @property
    def is_proven(self) -> bool:
        """Whether the leader is ahead, with this error."""
        return self.lower is not None and self.lower >= 0.0 and self.p_value <= self.error


@dataclass(frozen=True, slots=True)
class SampleRatio(Published):
    """Observed counts of units against the configured split.

    Attributes:
        p_value: Always-valid p-value of "units arrive in the configured split", in [0, 1].
        is_mismatch: Whether the p-value is so small that nothing is concluded.
        ratios: Units of each variant over the expected number; None while none is expected.
    """

    p_value: float
    is_mismatch: bool
    ratios: PerVariant[float | None]


@dataclass(frozen=True, slots=True)
class Guardrail(Published):
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
        margin: Harm that a promotion must rule out, as a share of the control's mean; None if it
            need not rule out any.
        margin_p_value: Always-valid p-value of "the harm is the margin, or more", corrected for
            the number of variants (Holm); 1 while there is not enough to ask, None without a
            margin.
        is_proven: Whether harm of the margin is ruled out; None without a margin.
    """

    metric: str
    variant: VariantIndex
    tolerated_harm: float
    harm: float | None
    p_value: float
    is_tripped: bool
    margin: float | None = None
    margin_p_value: float | None = None
    is_proven: bool | None = None


@dataclass(frozen=True, slots=True)
class SinceConclusion(Published):
    """A promoted winner beside the control share, by what came since the conclusion alone.

    Attributes:
        variant: Index of the variant that was promoted.
        units: Units of every variant that were assigned since; 0 of all but that one and the
            control.
        guardrails: Every guardrail metric of the promoted variant, with p-values that hold for all
            of them together, at every look since the conclusion.
    """

    variant: VariantIndex
    units: PerVariant[int]
    guardrails: tuple[Guardrail, ...]


@dataclass(frozen=True, slots=True)
class HeavyUnitReport(Published):
    """A unit with a large share of the observations of a metric: a program, or many people.

    Attributes:
        assignment_id: Its assignment; to void it takes the unit out.
        unit: Its hash, 16 hexadecimal digits; users and sessions have the same in all experiments.
        metric: Name of the metric.
        observations: Its observations of the metric that count.
        share: Its share of all observations of the metric, in (0, 1].
    """

    assignment_id: str
    unit: str
    metric: str
    observations: int
    share: float


@dataclass(frozen=True, slots=True)
class Miscounts(Published):
    """Events that could not be counted, or not correctly: faults of the data.

    Attributes:
        unremembered_units: Assignments not counted because the memory of units was full.
        unremembered_observations: Observations not counted because that of events was.
        is_memory_full: Whether either is so large a share that nothing is concluded: numerator and
            denominator of a mean no longer are of the same units.
        units_in_several_variants: Units assigned to more than one variant.
        is_in_several_variants: Whether they are so large a share of the units that nothing is
            concluded.
        most_events: Observations of the unit that has most of one metric, voided or not; 0 while
            none has several.
        full_units: Units with so many observations of one metric that further ones do not count.
        is_heavy: Whether one unit has so large a share of the observations that it is a finding.
        heavy_units: Those units, the one with most observations first; at most 5.
    """

    unremembered_units: int
    unremembered_observations: int
    is_memory_full: bool
    units_in_several_variants: int
    is_in_several_variants: bool
    most_events: int
    full_units: int
    is_heavy: bool
    heavy_units: tuple[HeavyUnitReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Caution(Published):
    """A condition under which the evidence does not hold.

    Attributes:
        code: Stable code.
        message: One sentence for a person.
    """

    code: str
    message: str


_NO_WINDOW = Caution(
    "NO_CONVERSION_WINDOW",
    "the primary metric has no conversionWindow that comparisons wait for: if users of one variant "
    "convert sooner than those of another, that passes for a difference",
)


@dataclass(frozen=True, slots=True)
class Maturity(Published):
    """Units whose conversion window is over, by the newest event.

    Attributes:
        window: Conversion window of the primary metric, in seconds; 0 for none, or if all units
            are compared (`onlyMature`). Then a variant whose users convert sooner is taken for a
            better one for a time.
        units: Units of every variant whose window is over: all of them without one.
        units_with_value: Those with a value of the primary metric.
        late: Observations of any metric that came after its window, and do not count.
        early: Observations of any metric that came before its delay, and do not count.
    """

    window: int
    units: PerVariant[int]
    units_with_value: PerVariant[int]
    late: int
    early: int = 0

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def warning(self) -> Caution | None:
        """Warning that unequal delays may look like a difference; None where a window is set."""
        return None if self.window else _NO_WINDOW


@dataclass(frozen=True, slots=True)
class Outlook(Published):
    """Power of an experiment now and at its planned end, by its primary metric.

    All but `detectable` are None without a plan that is in use. Of several variants, numbers are of
    the one that is hardest to compare with the control.

    Attributes:
        detectable: Lift, as a share of the control's mean, that would have been found by now with a
            probability of 80 %; None while nothing is known.
        detectable_at_end: The same by the planned end.
        power: Probability that the planned lift would have been found by now.
        power_at_end: The same by the planned end.
        conditional_power: Probability, given what is seen, that the variant to which this is
            nearest is yet declared, if it is better by the planned lift; None of more than 16
            variants.
        remaining_ms: Time to the planned end, if information goes on coming as it has, in
            milliseconds, >= 0; None before any has come.
    """

    detectable: float | None = None
    detectable_at_end: float | None = None
    power: float | None = None
    power_at_end: float | None = None
    conditional_power: float | None = None
    remaining_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence(Published):
    """Evidence from which, with the definition, the recommended action follows.

    Attributes:
        leader: Index of the variant that is most probably the best by the primary metric.
        probability_best: Posterior probability that it is, in [0, 1].
        expected_loss: Average loss of choosing it, in units of the metric, >= 0.
        relative_loss: The same over the absolute value of its mean; None while that is 0.
        value_remaining: 95 % quantile of how much better than the leader the best variant may yet
            turn out, over the leader's mean, >= 0; None while that may have either sign.
        error: Probability of ever declaring a wrong winner, however often one looks.
        planned_information: Planned variance of the sum that compares two variants
            (`PlanSpec.information`); None without a plan that is made use of.
        progress: Share of it that the comparison with the least has, >= 0; None likewise.
        units: Units of every variant.
        units_with_value: Those with a value of the primary metric.
        units_needed: Units that show the tail of values as skew as those of each variant; 0 where
            the sequences are exact.
        negligible: Lead below which there is none, in units of the metric.
        duration_ms: Time from the start, or from the first event after it, to the newest event.
        comparisons: The leader against every other variant, in their order.
        sample_ratio: Observed counts against the configured split.
        guardrails: Every guardrail metric of every variant but the control.
        miscounts: Events that could not be counted, or not correctly.
        since_conclusion: How a promoted winner does; None where there is none.
        maturity: Units by which the primary metric is compared; None if that is not known.
        weighting: How a unit counts in the comparisons of the primary metric.
        outlook: What the experiment can still find; None if that is not known.
        excluded_units: Units that could not be assigned to each variant, as it was not eligible or
            had the weight 0.
        unexposed: Observations from before the first exposure of their unit, or of a unit without
            one, which do not count; None where a unit counts from its assignment.
    """

    leader: VariantIndex
    probability_best: float
    expected_loss: float
    relative_loss: float | None
    value_remaining: float | None
    error: float
    planned_information: float | None
    progress: float | None
    units: PerVariant[int]
    units_with_value: PerVariant[int]
    units_needed: PerVariant[int]
    negligible: float
    duration_ms: int
    comparisons: tuple[Comparison, ...]
    sample_ratio: SampleRatio
    guardrails: tuple[Guardrail, ...]
    miscounts: Miscounts
    since_conclusion: SinceConclusion | None = None
    maturity: Maturity | None = None
    outlook: Outlook | None = None
    weighting: Open[Weighting] = Weighting.PLAIN
    excluded_units: PerVariant[int] = ()
    unexposed: int | None = None

    @property
    def compared_units(self) -> PerVariant[int]:
        """Units of every variant by which the primary metric is compared."""
        return self.units if self.maturity is None else self.maturity.units

    @property
    def compared_with_value(self) -> PerVariant[int]:
        """Those with a value of the primary metric."""
        return self.units_with_value if self.maturity is None else self.maturity.units_with_value


@dataclass(frozen=True, slots=True)
class FeatureUse(Published):
    """Use of a covariate, or of a feature of a contextual experiment whose values are texts.

    Attributes:
        name: Its name.
        units: Units assigned, in all variants.
        unknown_units: Those for which it had none of its declared values, or none at all; of a
            covariate, those without it.
    """

    name: str
    units: int
    unknown_units: int

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def unknown_share(self) -> float:
        """Share of the units for which it was unknown, in [0, 1]."""
        return self.unknown_units / self.units if self.units else 0.0


@dataclass(frozen=True, slots=True)
class VoidedUnits(Published):
    """Units that were voided: they and their values are in no other number.

    Attributes:
        reason: Why.
        units: How many.
    """

    reason: str
    units: int


@dataclass(frozen=True, slots=True)
class OutsideCount(Published):
    """Requests that took no part: they got the control or a forced variant, and no receipt.

    Attributes:
        reason: Reason of the answers, such as `INVALID_UNIT`.
        requests: How many.
    """

    reason: str
    requests: int


class FailureCode(StrEnum):
    """Reason why a version has no statistics."""

    EVALUATION_FAILED = "EVALUATION_FAILED"
    SNAPSHOT_TOO_LARGE = "SNAPSHOT_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class Failure(Published):
    """An evaluation that failed; lifecycle and version of its snapshot are new all the same.

    Attributes:
        code: Stable code.
        error: Class of the error that ended it; at most 100 characters.
        statistics_version: Version of the snapshot that statistics and weights are of; 0 if there
            was none, and then they are those of an experiment without events.
    """

    code: Open[FailureCode]
    error: str
    statistics_version: int

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def message(self) -> str:
        """One sentence for a person."""
        since = self.statistics_version
        kept = f"those of version {since} stand" if since else "there are none"
        return f"The statistics of this version failed ({self.code}, {self.error}): {kept}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(Published):
    """The statistics of an experiment but for its variants: fields of every publication.

    Attributes:
        version: Number of commands applied + sum over the cells of (last offset + 1). It grows with
            every event folded, and does not depend on batching, so a replay gets the same.
        as_of_ms: Time of the newest event in it; 0 without events.
        duplicates: Repeated events that were not counted.
        confidence: Posterior probability of the leading variant to be the best, in [0, 1].
        recommended_action: Recommendation.
        reason_code: Its reason.
        metrics: How every metric declared or seen was read, by name.
        evidence: What the recommendation follows from; None if it was never evaluated.
        features: Features whose values are texts, in order of their declaration.
        voided: Units that were voided, in order of the reasons.
        outside: Requests that took no part, in order of the reasons.
        dimensions: What is known by the values of each dimension; exploratory.
        failure: Why the statistics are not those of this version; None if they are.
    """

    version: int
    as_of_ms: Annotated[int, Field(alias="asOf")]
    duplicates: int
    confidence: float
    recommended_action: Open[RecommendedAction]
    reason_code: Open[ReasonCode]
    metrics: dict[str, MetricModel] = field(default_factory=dict)
    evidence: Evidence | None = None
    features: tuple[FeatureUse, ...] = ()
    voided: tuple[VoidedUnits, ...] = ()
    outside: tuple[OutsideCount, ...] = ()
    dimensions: tuple[DimensionReport, ...] = ()
    failure: Failure | None = None
