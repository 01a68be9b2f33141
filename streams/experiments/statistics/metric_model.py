"""The model of a metric, common to all variants."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.model.published import Open, Published
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, MetricKind


class MetricRole(StrEnum):
    """Role of a metric in its experiment."""

    PRIMARY = "primary"
    """The metric that decides the experiment."""
    SECONDARY = "secondary"
    """Compared, without effect on the decision."""
    GUARDRAIL = "guardrail"
    """A metric that must not be harmed."""
    OBSERVED = "observed"
    """Observed without being declared."""


@dataclass(frozen=True, slots=True)
class Periods(Published):
    """Weights of units that were assigned at different times, for posteriors and policy.

    Attributes:
        half_life: Seconds after which the weight of a unit has halved; None without decay.
        delayed: Whether a unit is weighted by the expected share of its observations that have
            arrived.
        stratified: Whether variants are compared within periods.
    """

    half_life: int | None = None
    delayed: bool = False
    stratified: bool = False


@dataclass(frozen=True, slots=True)
class MetricModel(Published):
    """Model of a metric, common to all variants.

    Attributes:
        role: Its role.
        direction: Its direction of improvement.
        kind: Kind of the model.
        is_declared: Whether that is the declared kind, and not the inferred one.
        contradiction: Why the model is not of the declared kind; None if it is, or without a
            declared kind.
        periods: Weights of units by time; None for equal weights.
        variance_removed: Share of its variance that the covariates explain and comparisons exclude,
            in [0, 1]; None without covariates.
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
