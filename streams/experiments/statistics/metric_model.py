"""The reading of a metric, for all variants alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.model.published import Open, Published
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, MetricKind


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
