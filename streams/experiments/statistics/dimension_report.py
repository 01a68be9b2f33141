"""The statistics of an experiment by the values of its dimensions.

They are descriptive and decide nothing: among many slices, some differ by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import computed_field

from streams.model.published import PerVariant, Published

UNKNOWN_SHARE = 0.05
"""Share of units with undeclared values above which it is a finding."""

UNKNOWN_FROM = 100
"""Units from which on that share is judged."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DimensionFinding(Published):
    """A condition of a dimension that needs attention.

    Attributes:
        code: Stable code.
        message: One sentence for a person.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SliceContrast(Published):
    """One metric of one variant against the control, among the units of one value.

    Attributes:
        difference: Estimate of variant - control, in units of the metric, regardless of the
            direction.
        lower, upper: Ends of its confidence sequence. The intervals of all slices, variants and
            metrics of the experiment hold simultaneously, at every look. None without an end.
        relative, relative_lower, relative_upper: The difference over the control's mean, and the
            ends of that lift, in which both means are estimated; None unless the control's mean
            is above 0.
        p_value: Always-valid p-value of "there is no difference", with the same correction, in [0,
            1].
        is_different: Whether the interval excludes 0.
    """

    difference: float
    lower: float | None
    upper: float | None
    relative: float | None
    relative_lower: float | None
    relative_upper: float | None
    p_value: float
    is_different: bool


@dataclass(frozen=True, slots=True)
class SliceMetric(Published):
    """One metric of one variant, among the units of one value.

    Attributes:
        units: Units with at least one observation; of a ratio, those with a denominator.
        mean: Mean per unit, in units of the metric; None without a unit, and of a ratio without a
            denominator. If the weights moved, reweighted as if the units of all variants had come
            at the same times.
        against_control: The variant against the control; None of the control itself, and where the
            mean of either of the two does not exist.
    """

    units: int
    mean: float | None
    against_control: SliceContrast | None = None


@dataclass(frozen=True, slots=True)
class SliceVariant(Published):
    """One variant, among the units of one value.

    Attributes:
        units: Units; only exposed ones if units count from their exposure.
        metrics: Every metric that is broken down, by name.
    """

    units: int
    metrics: dict[str, SliceMetric]


@dataclass(frozen=True, slots=True)
class SliceRatio(Published):
    """Observed counts of the units of one value against the configured split.

    Attributes:
        p_value: As in `SampleRatio`, corrected for all slices of the experiment.
        is_mismatch: Whether the p-value is so small that the units of this value are not
            comparable.
        ratios: Units of each variant over the expected number; None while none is expected.
    """

    p_value: float
    is_mismatch: bool
    ratios: PerVariant[float | None]


@dataclass(frozen=True, slots=True)
class ValueReport(Published):
    """The units with one value of a dimension.

    Attributes:
        value: The declared value; None for all other and missing values.
        units: Units of all variants.
        variants: Each variant.
        sample_ratio: Their split.
    """

    value: str | None
    units: int
    variants: PerVariant[SliceVariant]
    sample_ratio: SliceRatio


@dataclass(frozen=True, slots=True)
class DimensionReport(Published):
    """One dimension of an experiment.

    Attributes:
        name: The attribute.
        units: Units of all variants.
        unknown_units: Units with an undeclared or missing value.
        mismatches: Values with a sample ratio mismatch; None for all other and missing values.
        error: Probability that any interval of any dimension ever misses.
        comparisons: Intervals among which it is divided (Bonferroni).
        values: The declared values in their order, and last all others; empty where the dimension
            was not asked for.
    """

    name: str
    units: int
    unknown_units: int
    mismatches: tuple[str | None, ...]
    error: float
    comparisons: int
    values: tuple[ValueReport, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def unknown_share(self) -> float:
        """Share of the units with an undeclared or missing value, in [0, 1]."""
        return self.unknown_units / self.units if self.units else 0.0

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def is_exploratory(self) -> bool:
        """Whether it is exploratory; always true."""
        return True

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def findings(self) -> tuple[DimensionFinding, ...]:
        """Conditions that need attention."""
        found = []
        if self.mismatches:
            named = [_named(value) for value in self.mismatches[:_SHOWN]]
            more = len(self.mismatches) - len(named)
            said = ", ".join(named) + (f" and {more} more" if more > 0 else "")
            message = (
                f"sample ratio mismatch among the units with {self.name} {said}: observed counts "
                "deviate from the configured split there"
            )
            found.append(DimensionFinding("SLICE_SAMPLE_RATIO_MISMATCH", message))
        if self.units >= UNKNOWN_FROM and self.unknown_share > UNKNOWN_SHARE:
            message = (
                f"{self.unknown_share:.1%} of the units have none of the declared values of "
                f"{self.name}: values are compared to the letter"
            )
            found.append(DimensionFinding("UNKNOWN_VALUES", message))
        return tuple(found)


def _named(value: str | None) -> str:
    return "other" if value is None else repr(value)
