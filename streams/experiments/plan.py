"""Plan of an experiment: the lift to detect, declared before the first unit."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from streams.model.validation import InputModel, problem
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind
from streams.stats.sequential.betting import PlannedRates

_LARGEST = 1e12
_SMALLEST = 1e-9
_LARGEST_SHARE = 1.0 - 1e-9  # of a deviation that rounding would make 0 beside the mean

_OF_MEAN = (MetricKind.BINARY, MetricKind.COUNT)
"""Kinds whose mean determines the variance."""


class PlanSpec(InputModel):
    """Planned size of an experiment: the input of `experiment plan`.

    It is fixed when the experiment is created. Progress is measured in information, the variance of
    the compared sum, and not in units, which may arrive long before their values.

    Attributes:
        baseline: Mean of the primary metric per unit in the control, as far as is known; not 0, of
            a binary metric in (0, 1), of a count and of revenue > 0.
        lift: Lift to detect, relative to the baseline, in the direction of the metric; > 0.
        units: Units of each variant, in 1..10**12.
        deviation: Standard deviation of the value of a unit, > 0, units without a value counting
            as 0; of a ratio, that of numerator - baseline * denominator. A binary metric has none,
            and a count is taken for a Poisson one without it.
    """

    baseline: float = Field(ge=-_LARGEST, le=_LARGEST)
    lift: float = Field(ge=1e-6, le=1e6)
    units: int = Field(ge=1, le=10**12)
    deviation: float | None = Field(default=None, ge=_SMALLEST, le=_LARGEST)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(self.baseline) < _SMALLEST:
            message = f"baseline == {self.baseline}, must not be 0: the lift is relative to it"
            raise problem("OUT_OF_RANGE", message, "baseline")
        return self

    def refusal(self, kind: MetricKind | None, direction: Direction) -> tuple[str, str, str] | None:
        """Return code, message and path of a conflict with the primary metric; None without one.

        Args:
            kind: Its declared kind; None if undeclared.
            direction: Its direction of improvement.
        """
        stated, best = self.deviation is not None, self.best(direction)
        is_rate = kind is MetricKind.BINARY or (kind is None and not stated)
        is_amount = kind in {MetricKind.COUNT, MetricKind.REVENUE}
        if kind is MetricKind.BINARY and stated:
            message = "the baseline of a binary metric gives its deviation"
            return "DEVIATION_NOT_USED", message, "deviation"
        if not stated and kind not in {*_OF_MEAN, None}:
            message = f"the values of a {kind} metric have a deviation, and it must be stated"
            return "MISSING_FIELD", message, "deviation"
        if is_rate and not 0.0 < self.baseline < 1.0:
            declare = "" if kind else "; of a metric that is no rate, declare kind or deviation"
            message = f"baseline == {self.baseline}, must be a rate in (0, 1){declare}"
            return "OUT_OF_RANGE", message, "baseline"
        if is_amount and self.baseline <= 0.0:
            message = f"baseline == {self.baseline}, must be > 0 for a {kind} metric"
            return "OUT_OF_RANGE", message, "baseline"
        if is_rate and not 0.0 < best < 1.0:
            message = f"lift == {self.lift}, must lead to a rate in (0, 1), and not to {best:g}"
            return "OUT_OF_RANGE", message, "lift"
        if is_amount and best < 0.0:
            message = f"lift == {self.lift}, must lead to a mean >= 0, and not to {best:g}"
            return "OUT_OF_RANGE", message, "lift"
        return None

    @property
    def difference(self) -> float:
        """Planned lift in units of the metric, > 0."""
        return abs(self.baseline) * self.lift

    def best(self, direction: Direction) -> float:
        """Return the mean of a variant that is better by the lift."""
        return self.baseline + direction.sign * self.difference

    def unit_variance(self, kind: MetricKind | None, direction: Direction) -> float:
        """Return the variance of the value of a unit, the mean of control and better variant.

        Args:
            kind: Declared kind of the primary metric; None if undeclared: it is then continuous
                with a deviation, and binary without.
            direction: Its direction of improvement.
        """
        if self.deviation is not None:
            return self.deviation**2
        means = (self.baseline, self.best(direction))
        if kind is MetricKind.COUNT:
            return sum(means) / 2.0
        return sum(mean * (1.0 - mean) for mean in means) / 2.0

    def rate(self, kind: MetricKind | None) -> float:
        """Return the planned rate under equal variants; 0 unless the metric is a rate."""
        is_rate = kind is MetricKind.BINARY or (kind is None and self.deviation is None)
        return self.baseline if is_rate else 0.0

    def share_of_mean(self, kind: MetricKind | None) -> float:
        """Return how much of the second moment of a unit's value is the square of its mean.

        Of a rate it is the rate. Values that come once, as those do, make a bridge of a sum over
        units that are all there before (`streams.stats.sequential.planned_information`), and a
        deviation does not say whether they come once or in parts. 0 of counts without a deviation,
        which are taken for Poisson ones, and of ratios, of which the linearised values have the
        mean 0: of these, what came says nothing of what is to come.

        Args:
            kind: Declared kind of the primary metric; None if undeclared.

        Examples:
            >>> PlanSpec(baseline=4.0, lift=0.1, units=100, deviation=24**0.5).share_of_mean(None)
            0.4
        """
        if self.deviation is None:
            return self.rate(kind)
        if kind is MetricKind.RATIO:
            return 0.0
        square = self.baseline * self.baseline
        return min(square / (square + self.deviation * self.deviation), _LARGEST_SHARE)

    def rates(self, kind: MetricKind | None, direction: Direction) -> PlannedRates | None:
        """Return the two planned rates; None unless the metric is a rate.

        Args:
            kind: Declared kind of the primary metric; None if undeclared.
            direction: Its direction of improvement.
        """
        if not self.rate(kind):
            return None
        return PlannedRates(*sorted((self.baseline, self.best(direction))))

    def information(self, kind: MetricKind | None, direction: Direction) -> float:
        """Return the planned variance of the sum that compares two variants.

        It is that of an even split, where a unit of either counts as much as its variance
        (`streams.stats.sequential.contrasts.Contrast.variance`). Uneven and moving weights reach it
        later.
        """
        return 2.0 * self.units * self.unit_variance(kind, direction)

    def drift(self, kind: MetricKind | None, direction: Direction) -> float:
        """Return the mean of z at the planned end, if a variant is better by the lift."""
        return self.difference * math.sqrt(self.units / (2.0 * self.unit_variance(kind, direction)))
