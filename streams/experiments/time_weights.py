"""Declaration of the weights of units by their assignment time."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from streams.model.validation import InputModel, problem
from streams.stats.nonstationary.periods import TimeWeights

MIN_HALF_LIFE_S = 900
"""Smallest half-life: periods are four minutes long at least."""

MAX_HALF_LIFE_S = 366 * 86_400


class PeriodSpec(InputModel):
    """Weights of units by their assignment time (non-stationarity).

    They apply to the policy and to the posteriors of the primary metric. The comparisons that
    decide an experiment weigh all units alike.

    Attributes:
        half_life: Seconds after which the weight of a unit has halved, for drifting rates; None for
            no decay.
        delayed: Whether a unit is weighted by the expected share of its observations that have
            arrived (delayed conversions).
        stratified: Whether variants are compared within periods, so that a drifting base rate under
            moving weights favours none of them.
    """

    half_life: int | None = Field(default=None, ge=MIN_HALF_LIFE_S, le=MAX_HALF_LIFE_S)
    delayed: bool = False
    stratified: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.half_life is None and not self.delayed and not self.stratified:
            message = "one of halfLife, delayed and stratified says what the periods are for"
            raise problem("MISSING_FIELD", message, "halfLife")
        return self

    @property
    def time_weights(self) -> TimeWeights:
        """The weights in the form that tallies are read with."""
        return TimeWeights(
            half_life_s=None if self.half_life is None else float(self.half_life),
            is_delayed=self.delayed,
            is_stratified=self.stratified,
        )
