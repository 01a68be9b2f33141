"""The call that plans an experiment."""

from __future__ import annotations

from typing import Literal

from api.http.models.operation import PlanAnswer
from experiment_streams_client.calls.base import OPERATION_S, Call, Method
from experiment_streams_client.calls.requests import given


class PlanningCalls:
    """Plan an experiment."""

    @Method
    @staticmethod
    def plan_experiment(
        baseline: float,
        lift: float,
        *,
        variants: int = 2,
        metric_kind: Literal["binary", "count", "continuous"] = "binary",
        deviation: float | None = None,
        alpha: float = 0.05,
        power: float = 0.8,
        daily_units: int | None = None,
    ) -> Call[PlanAnswer]:
        """Return the units and days that an experiment needs, by formulas.

        Args:
            baseline: Mean of the metric per unit under the control.
            lift: Lift to detect, relative to it.
            variants: Number of variants, including the control.
            metric_kind: Values of a unit: 0 or 1, a count, or any number.
            deviation: Standard deviation of a unit's value; of a continuous metric alone.
            alpha: Largest probability of a wrong winner.
            power: Probability of detecting the lift.
            daily_units: Units per day, to have days as well.

        Raises:
            ApiError: 422 if the numbers do not fit together, with the path of the first.
        """
        body = given(
            baseline=baseline,
            lift=lift,
            variants=variants,
            metricKind=metric_kind,
            deviation=deviation,
            alpha=alpha,
            power=power,
            dailyUnits=daily_units,
        )
        return Call("POST", "/plan", PlanAnswer.model_validate, body, slowest_s=OPERATION_S)
