"""Evidence for a recommendation."""

from __future__ import annotations

from dataclasses import dataclass

from streams.experiments.statistics.maturity import Maturity
from streams.experiments.statistics.miscounts import Miscounts
from streams.experiments.statistics.outlook import Outlook
from streams.model.published import Open, PerVariant, Published, VariantIndex
from streams.stats.weighting import Weighting


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
        tails_seen: Whether enough values of both are observed for a lower end; always true for
            exact sequences.
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
    """A promoted winner against the control share, by the data since the conclusion only.

    Attributes:
        variant: Index of the variant that was promoted.
        units: Units of every variant assigned since; 0 for all but the promoted variant and the
            control.
        guardrails: Every guardrail metric of the promoted variant, with p-values that hold for all
            of them together, at every look since the conclusion.
    """

    variant: VariantIndex
    units: PerVariant[int]
    guardrails: tuple[Guardrail, ...]


@dataclass(frozen=True, slots=True)
class Evidence(Published):
    """Evidence that, with the definition, determines the recommended action.

    Attributes:
        leader: Index of the variant that is most probably the best by the primary metric.
        probability_best: Posterior probability that it is, in [0, 1].
        expected_loss: Average loss of choosing it, in units of the metric, >= 0.
        relative_loss: The same over the absolute value of its mean; None while that is 0.
        value_remaining: Potential value remaining: 95 % quantile of the lead of the best variant
            over the leader, relative to the leader's mean, >= 0; None while that may have either
            sign.
        error: Probability of ever declaring a wrong winner, at any number of looks.
        planned_information: Planned variance of the sum that compares two variants
            (`PlanSpec.information`); None without a plan in use.
        progress: Share of the planned information in the comparison with the least, >= 0; None
            without a plan in use.
        units: Units of every variant.
        units_with_value: Those with a value of the primary metric.
        units_needed: Units needed to observe the tails of values as skewed as those of each
            variant; 0 for exact sequences.
        negligible: Lead below which it is negligible, in units of the metric.
        duration_ms: Time from the start, or from the first event after it, to the newest event.
        comparisons: The leader against every other variant, in their order.
        sample_ratio: Observed counts against the configured split.
        guardrails: Every guardrail metric of every variant but the control.
        miscounts: Events that could not be counted, or not correctly.
        since_conclusion: Results of a promoted winner; None without one.
        maturity: Units by which the primary metric is compared; None if unknown.
        weighting: Weights of units in the comparisons of the primary metric.
        outlook: Power of the experiment now and at its end; None if unknown.
        excluded_units: Units that could not be assigned to each variant, because it was not
            eligible or had the weight 0.
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
