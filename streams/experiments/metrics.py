"""Declaration of a metric: its kind, its direction of improvement and its prior."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from streams.model.quantities import METRIC_NAME_PATTERN, MICRO, VALUE_LIMIT
from streams.model.validation import InputModel, problem
from streams.stats.direction import Direction
from streams.stats.families.base import PRIOR_OF_VALUES, WEAK_PRIORS, Family, Priors
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.base import LARGEST_PRIOR, SMALLEST_PRIOR
from streams.stats.posteriors.normal import FEWEST_DEGREES, NormalPrior
from streams.tallies.cohorts import MIN_CONVERSION_WINDOW_S

MetricName = Annotated[str, StringConstraints(pattern=METRIC_NAME_PATTERN)]

_LARGEST = 1e12
_SMALLEST = 1e-12


MAX_WINDOW_S = 366 * 86_400
"""Longest attribution or conversion window."""


def _conversion_window(window_s: int | None) -> int | None:
    if window_s and window_s < MIN_CONVERSION_WINDOW_S:
        message = f"must be 0, for none, or at least {MIN_CONVERSION_WINDOW_S}"
        raise problem("OUT_OF_RANGE", message)
    return window_s


ConversionWindow = Annotated[
    int | None, Field(ge=0, le=MAX_WINDOW_S), AfterValidator(_conversion_window)
]
"""Seconds; 0 for none, and None where it follows from something else."""


class Counting(StrEnum):
    """Meaning of several observations of a binary metric by one unit."""

    UNIQUE = "unique"
    """Any: a unit has the value 1 if one of its observations is 1."""
    SUM = "sum"
    """Sum: the value of a unit is its number of observations of 1, modelled as a count."""


class GuardrailMode(StrEnum):
    """Requirement of a guardrail before a promotion."""

    HARM = "harm"
    """No harm beyond the tolerated harm is certain."""
    NON_INFERIORITY = "non_inferiority"
    """In addition, harm of the margin or more is ruled out."""


DEFAULT_MARGIN = 0.25
"""Harm, as a share of the control's mean, that a promotion rules out unless a margin is stated."""


class PriorSpec(InputModel):
    """Prior of a metric; fields left out are weak.

    Attributes:
        alpha: Pseudo-units with a value (`binary`, `revenue`); in [0.01, 1e9], like all weights of
            a prior.
        beta: Pseudo-units without (`binary`, `revenue`).
        events: Pseudo-events of a rate (`count`).
        event_units: Pseudo-units of a rate (`count`).
        mean: Expected mean of the values (`continuous`), or of those units have (`revenue`).
        variance: Expected variance of those values, > 0; stated together with the mean.
        units: Weight of this mean, in units; 1 unless stated.
        degrees: Weight of this variance, in units, in [2.1, 1e9]; 3 unless stated. At 2 and below
            the mean has no variance.
    """

    alpha: float | None = Field(default=None, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    beta: float | None = Field(default=None, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    events: float | None = Field(default=None, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    event_units: float | None = Field(default=None, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    mean: float | None = Field(default=None, ge=-_LARGEST, le=_LARGEST)
    variance: float | None = Field(default=None, ge=_SMALLEST, le=_LARGEST**2)
    units: float | None = Field(default=None, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    degrees: float | None = Field(default=None, ge=FEWEST_DEGREES, le=LARGEST_PRIOR)

    @property
    def stated(self) -> frozenset[str]:
        """Names of the parameters that are stated."""
        return frozenset(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _check(self) -> Self:
        stated = self.stated
        if stated & PRIOR_OF_VALUES and not {"mean", "variance"} <= stated:
            missing = "variance" if "mean" in stated else "mean"
            message = "a prior of values states their mean and their variance"
            raise problem("PRIOR_INCOMPLETE", message, missing)
        return self

    @property
    def priors(self) -> Priors:
        """The prior in the form that posteriors take."""
        stated = self.model_dump(include=set(PRIOR_OF_VALUES), exclude_none=True)
        values = NormalPrior(**stated) if stated else None
        return Priors(self.alpha, self.beta, self.events, self.event_units, values)


class MetricSpec(InputModel):
    """Declaration of one metric.

    Attributes:
        kind: Kind of its values; inferred from them unless declared.
        direction: Whether more of it is better, or less.
        tolerated_harm: By how much a variant may be worse than the control before a guardrail
            trips, as a share of the control's mean, in [0, 1]. Of guardrails alone; 0 unless
            stated.
        mode: Requirement of a guardrail before a promotion: `non_inferiority` where a margin is
            stated or the experiment has automatic promotion, else `harm`, unless stated. Of
            guardrails alone.
        margin: Harm that a promotion under `non_inferiority` must rule out, as a share of the
            control's mean, in [0, 1]; unless stated `DEFAULT_MARGIN`, or the tolerated harm where
            that is more. Of guardrails alone, and not under `harm`.
        prior: Its prior; needs a declared kind.
        cap: Largest value of a unit, in units of the metric, > 0: a unit whose observations sum to
            more has this value (winsorisation). None for no cap; a binary metric has none, and that
            of counts is a whole number.
        winsorize: Percentile of the values above 0 of all variants' units, in (0.5, 1), at which
            they are capped; None without one. Not of a binary metric or of part of a ratio.
        floor: Smallest value of a unit, in units of the metric: a unit whose observations sum to
            less has this value. 0 for `binary`, `count` and `revenue` unless stated, and never less
            there; None for no floor. Without one, a single unit can move a mean down without bound.
        min_value, max_value: Bounds of single observations; others are refused. Those of a binary
            metric are 0 and 1. None for +-10**9.
        counting: Meaning of several observations of a unit, for binary metrics only; `unique`
            unless stated.
        conversion_window: Seconds after the assignment of a unit during which its observations
            count; 0 for no limit. Comparisons count the units whose window is over. That of the
            experiment unless stated; a ratio has that of its metrics.
        conversion_delay: Seconds after the assignment of a unit before which its observations do
            not count; below its window, and not of a ratio, whose metrics have their own.
        only_mature: Whether comparisons leave out units whose window is not over yet. Without, all
            units are compared from their assignment on. A ratio has that of its metrics.
        percentile: Probability of a quantile, in [0.5, 1), and required there.
        numerator, denominator: The metrics that a ratio is of: the sum of the one over the sum of
            the other. Of ratios alone. Their own floors and caps hold in it; the floor of a
            denominator is 0 unless it is declared.
    """

    kind: Annotated[MetricKind, Field(strict=False)] | None = None
    direction: Annotated[Direction, Field(strict=False)] = Direction.INCREASE
    tolerated_harm: float | None = Field(default=None, ge=0.0, le=1.0)
    mode: Annotated[GuardrailMode, Field(strict=False)] | None = None
    margin: float | None = Field(default=None, ge=0.0, le=1.0)
    prior: PriorSpec | None = None
    cap: float | None = Field(default=None, ge=1.0 / MICRO, le=_LARGEST)
    winsorize: float | None = Field(default=None, gt=0.5, lt=1.0)
    floor: float | None = Field(default=None, ge=-_LARGEST, le=_LARGEST)
    min_value: float | None = Field(default=None, ge=-VALUE_LIMIT, le=VALUE_LIMIT)
    max_value: float | None = Field(default=None, ge=-VALUE_LIMIT, le=VALUE_LIMIT)
    counting: Annotated[Counting, Field(strict=False)] | None = None
    conversion_window: ConversionWindow = None
    conversion_delay: int = Field(default=0, ge=0, le=MAX_WINDOW_S)
    only_mature: bool = True
    percentile: float | None = Field(default=None, ge=0.5, lt=1.0)
    numerator: MetricName | None = None
    denominator: MetricName | None = None

    @property
    def model_kind(self) -> MetricKind | None:
        """The kind by which its values are modelled; None if undeclared."""
        is_count = self.kind is MetricKind.BINARY and self.counting is Counting.SUM
        return MetricKind.COUNT if is_count else self.kind

    @property
    def family(self) -> Family | None:
        """The family of the declared kind; None if undeclared."""
        return None if self.kind is None else FAMILIES[self.kind]

    @property
    def components(self) -> tuple[str, str] | None:
        """Numerator and denominator; None unless it is a ratio."""
        if self.numerator is None or self.denominator is None:
            return None
        return self.numerator, self.denominator

    def promotion_margin(self, *, is_automatic: bool) -> float | None:
        """Return the harm that a promotion must rule out; None if it need not rule out any.

        Args:
            is_automatic: Whether the experiment promotes automatically.
        """
        is_asked = is_automatic or self.margin is not None
        mode = self.mode or (GuardrailMode.NON_INFERIORITY if is_asked else GuardrailMode.HARM)
        if mode is GuardrailMode.HARM:
            return None
        if self.margin is not None:
            return self.margin
        return max(DEFAULT_MARGIN, self.tolerated_harm or 0.0)

    @model_validator(mode="after")
    def _check_margin(self) -> Self:
        if self.mode is GuardrailMode.HARM and self.margin is not None:
            message = "only a guardrail of the mode non_inferiority has a margin"
            raise problem("MARGIN_NOT_USED", message, "margin")
        return self

    @model_validator(mode="after")
    def _check_ratio(self) -> Self:
        parts = {"numerator": self.numerator, "denominator": self.denominator}
        for name, metric in parts.items():
            if self.kind is MetricKind.RATIO and metric is None:
                raise problem("MISSING_FIELD", f"a ratio has a {name}", name)
            if self.kind is not MetricKind.RATIO and metric is not None:
                raise problem("NOT_A_RATIO", f"only a ratio has a {name}", name)
        stated = {
            "conversionWindow": self.conversion_window is not None,
            "conversionDelay": self.conversion_delay > 0,
            "onlyMature": not self.only_mature,
        }
        for name, is_stated in stated.items():
            if self.kind is MetricKind.RATIO and is_stated:
                message = f"a ratio has the {name} of its numerator and its denominator"
                raise problem("WINDOW_NOT_USED", message, name)
        if self.kind is MetricKind.RATIO and self.numerator == self.denominator:
            message = "numerator and denominator are the same metric"
            raise problem("DUPLICATE_METRIC", message, "denominator")
        return self

    @model_validator(mode="after")
    def _check_percentile(self) -> Self:
        if self.kind is MetricKind.QUANTILE and self.percentile is None:
            raise problem("MISSING_FIELD", "a quantile has a percentile", "percentile")
        if self.kind is not MetricKind.QUANTILE and self.percentile is not None:
            raise problem("NOT_A_QUANTILE", "only a quantile has a percentile", "percentile")
        return self

    @model_validator(mode="after")
    def _check_winsorize(self) -> Self:
        family = self.family
        if self.winsorize is not None and family is not None and family.cap_refusal is not None:
            raise problem("WINSORIZE_NOT_USED", family.cap_refusal, "winsorize")
        return self

    @model_validator(mode="after")
    def _check_cap(self) -> Self:
        if self.cap is None:
            return self
        family = self.family
        if family is None:
            return self
        if family.cap_refusal is not None:
            raise problem("CAP_NOT_USED", family.cap_refusal, "cap")
        if family.is_whole and not self.cap.is_integer():
            message = f"cap == {self.cap}, must be a whole number, as counts are"
            raise problem("CAP_NOT_WHOLE", message, "cap")
        return self

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.counting is not None and self.kind is not MetricKind.BINARY:
            message = "only a binary metric has a counting"
            raise problem("COUNTING_NOT_USED", message, "counting")
        if self.family is not None and not self.family.has_bounds:
            for name, bound in (("minValue", self.min_value), ("maxValue", self.max_value)):
                if bound is not None:
                    message = f"the values of a {self.family.kind} metric follow from its kind"
                    raise problem("BOUNDS_NOT_USED", message, name)
            if self.floor is not None:
                message = f"a {self.family.kind} metric cannot have a floor"
                raise problem("FLOOR_NOT_USED", message, "floor")
        least = -VALUE_LIMIT if self.min_value is None else self.min_value
        if self.max_value is not None and self.max_value < least:
            message = f"maxValue == {self.max_value}, must be at least minValue"
            raise problem("OUT_OF_RANGE", message, "maxValue")
        if self.floor is not None:
            self._check_floor(self.floor)
        return self

    def _check_floor(self, floor: float) -> None:
        family = self.family
        if family is not None and family.is_not_negative and floor < 0.0:
            message = f"floor == {floor}, must be >= 0 for a {family.kind} metric"
            raise problem("OUT_OF_RANGE", message, "floor")
        if family is not None and family.is_whole and not floor.is_integer():
            message = f"floor == {floor}, must be a whole number, as counts are"
            raise problem("FLOOR_NOT_WHOLE", message, "floor")
        # In micro-units, the unit of counted values: two numbers may round to the same one.
        if self.cap is not None and round(floor * MICRO) >= round(self.cap * MICRO):
            message = f"floor == {floor}, must be below the cap"
            raise problem("OUT_OF_RANGE", message, "floor")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prior is None:
            return self
        kind = self.model_kind
        if kind is None:
            message = "a prior belongs to a kind, and the metric declares none"
            raise problem("KIND_NOT_DECLARED", message, "kind")
        unused = sorted(self.prior.stated - FAMILIES[kind].prior_fields)
        if unused:
            alias = type(self.prior).model_fields[unused[0]].alias
            message = f"a metric that is read as {kind.value} has no such prior"
            raise problem("PRIOR_NOT_USED", message, f"prior.{alias}")
        mean = self.prior.mean
        if FAMILIES[kind].needs_positive_prior_mean and mean is not None and mean <= 0.0:
            message = f"mean == {mean}, must be > 0, as amounts are"
            raise problem("OUT_OF_RANGE", message, "prior.mean")
        return self

    @property
    def priors(self) -> Priors:
        """The declared priors, weak by default."""
        return WEAK_PRIORS if self.prior is None else self.prior.priors
