"""Reports on a variant: by metric, alone and against the control."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import computed_field

from streams.experiments.statistics.undefined_sequence import UndefinedSequence
from streams.model.published import ExactInteger, Open, Published
from streams.stats.kinds import MetricKind
from streams.stats.posterior_parameters import MetricPosterior


@dataclass(frozen=True, slots=True)
class AgainstControl(Published):
    """One metric of one variant against the control.

    All but p-value and sequence are posterior statements for a fixed look. At a look selected by
    the data, such as the one that declares a winner, they overestimate the lift: there, the ends of
    the sequence hold.

    Attributes:
        probability_better: Probability that the variant's mean is better than the control's.
        expected_loss: Average loss of shipping the variant in place of the control, in units of
            the metric, >= 0.
        difference: Posterior mean of variant - control, regardless of the direction.
        difference_lower, difference_upper: Ends of its equal-tailed 95 % credible interval.
        relative, relative_lower, relative_upper: The lift: the difference over the control's mean.
            None while the control's mean may be 0 or less.
        p_value: Always-valid p-value of "there is no difference", in [0, 1]; those of one role are
            corrected for all its metrics and variants (Holm).
        sequence_lower, sequence_upper: Ends of the confidence sequence of the difference, of the
            deciding boundary: they hold simultaneously at every look, for all variants. None
            without an end, and for all but the primary metric.
        relative_sequence_lower, relative_sequence_upper: The same of the lift, in which the mean of
            the control is estimated, too.
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
        kind: Kind of the model.
        units: Units with at least one observation; of a ratio, those with a denominator, and 0
            while the denominators sum to 0 or less.
        observations: Observations counted.
        sum_micro: Exact sum, in micro-units.
        mean: Posterior mean per assigned unit, in units of the metric; of a quantile its estimate.
            None where it does not exist: without a unit, for a ratio without a denominator, and for
                a quantile without a value. If the weights moved, reweighted as if the units of all
                variants had come at the same times.
        lower, upper: Equal-tailed 95 % credible interval of the mean; of a quantile the ends of its
            95 % confidence sequence, which hold at every look. None where they do not exist.
        against_control: The variant against the control; None for the control itself, for an
            undeclared metric, and where the mean of either does not exist.
        posterior: Distribution of `mean` and, except for a quantile, of `lower` and `upper`; with
            weights by time (`MetricModel.periods`), the current one. None where the mean does not
            exist, or a parameter is beyond the range of doubles.
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
        exposures: Exposed units, which all other numbers are based on; None where a unit counts
            from its assignment.
        observations: Observations of all metrics.
        mean, lower, upper: Those of the primary metric in `metrics`.
        probability_best: Posterior probability that its mean is the best (P(best)).
        expected_loss: Expected amount by which the best mean exceeds its mean.
        metrics: Every observed or declared metric, by name, sorted.
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
