"""Planned experiments, simulated until a winner is recommended.

The sequential test is the experiment's own rule, which may be asked at every moment: so one run
continues until `recommendedAction` is `conclude_winner`, and the same run with an adaptive policy
is that of a bandit. It is evaluated, and allocates, after as many units as `looks` says: every
hundred at first and then every twentieth part of what there is. Fewer looks make the test a little
later and the bandit a little slower than they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.experiments.lifecycle import Experiment
from streams.experiments.plan import PlanSpec
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.errors import InputError, InvalidParameterError
from streams.model.quantities import PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.planning.assumed import Assumption
from streams.planning.fixed import Design
from streams.planning.simulation import running_experiment, simulate
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.registry import POLICIES
from streams.stats.arrays import FloatArray
from streams.stats.kinds import MetricKind
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted

FIRST_STEP = 100
"""Units between two looks, at least."""

STEP_SHARE = 0.05
"""Units between two looks, as a part of those so far."""

METRIC = "metric"


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one simulated experiment.

    Attributes:
        units: Units at which a winner was recommended; None if none was within the horizon.
        is_right: Whether it was the best variant.
        lost: What was lost against the best variant over the horizon, in units of the metric; from
            the recommendation on all users get the winner.
        share_best: Share of the units of the horizon that got the best variant.
    """

    units: int | None
    is_right: bool
    lost: float
    share_best: float


def planned_experiment(
    design: Design,
    policy: str,
    parameters: Mapping[str, Any],
    min_sample_size: int | None = None,
    plan: PlanSpec | None = None,
    metric_kind: MetricKind | None = None,
) -> Experiment:
    """Return a running experiment with this design.

    Args:
        design: What is asked of it.
        policy: Its `type`.
        parameters: Parameters of the policy, by their names in JSON.
        min_sample_size: Units every variant must have; None for the default.
        plan: Plan that is declared with it; None without one.
        metric_kind: Kind that is declared of its metric; None without one.

    Raises:
        InputError: policy or parameters are invalid, with code and path; or the policy is
            contextual (`CONTEXTUAL_POLICY`): a plan makes no assumptions about requests.
    """
    kind = POLICIES.get(policy)
    if kind is not None and issubclass(kind, ContextualPolicy):
        message = f"{policy} decides by the features of a request, and a plan assumes nothing of "
        message += "requests; plan with a policy that does not look at them"
        raise InputError("CONTEXTUAL_POLICY", message, "type")
    config: dict[str, Any] = {
        "name": "plan",
        "type": policy,
        "primaryMetric": METRIC,
        "significanceThreshold": 1.0 - design.alpha,
        "parameters": dict(parameters),
    }
    if min_sample_size is not None:
        config["minSampleSize"] = min_sample_size
    if metric_kind is not None:
        config["metrics"] = {METRIC: {"kind": metric_kind}}
    if plan is not None:
        config["plan"] = plan.model_dump(by_alias=True, exclude_none=True)
    return running_experiment(config, design.n_variants)


def looks(horizon: int) -> list[int]:
    """Return the numbers of units at which an experiment is looked at; the last is the horizon.

    >>> looks(350)
    [100, 200, 300, 350]
    """
    if horizon < 1:
        raise InvalidParameterError("horizon", horizon, ">= 1")
    found = [min(FIRST_STEP, horizon)]
    while found[-1] < horizon:
        found.append(min(horizon, found[-1] + max(FIRST_STEP, int(STEP_SHARE * found[-1]))))
    return found


def run(
    experiment: Experiment, assumed: Assumption, horizon: int, random: np.random.Generator
) -> Run:
    """Return the result of one simulated experiment.

    Args:
        experiment: It, running.
        assumed: What is true of its metric.
        horizon: Units after which it ends, >= 1.
        random: Where assignments and values are drawn from.

    Raises:
        InvalidParameterError: `horizon` is not positive.
    """
    means = np.array(assumed.means(len(experiment.definition.variants)))
    sizes = [after - before for before, after in pairwise([0, *looks(horizon)])]
    assigned = np.zeros(len(means), np.int64)
    for interval in simulate(experiment, AssumedValues(assumed, means.tolist()), sizes, random):
        assigned += interval.assigned
        snapshot = interval.snapshot
        if snapshot.recommended_action is RecommendedAction.CONCLUDE_WINNER:
            units, winner = int(assigned.sum()), snapshot.winner
            assert winner is not None  # noqa: S101 - it is what the action means
            assigned[winner] += horizon - units
            return _ended(assigned, means, units, is_right=winner == len(means) - 1)
    return _ended(assigned, means, None, is_right=False)


class AssumedValues:
    """Values of the assumed metric, summed as plain tallies."""

    def __init__(self, assumed: Assumption, means: Sequence[float]) -> None:
        self._assumed = assumed
        self._means = means
        self._tallies = [VariantTally(metrics={METRIC: MetricTally()}) for _ in means]

    def tally_after(
        self,
        _: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Return the tally after the values of another interval."""
        packed = pack_weights(weights)
        for index, (count, weight) in enumerate(zip(assigned.tolist(), weights, strict=True)):
            if count:
                values = self._assumed.draw(generator, self._means[index], count)
                sums = MetricTally(
                    values.units,
                    values.units,
                    values.total,
                    values.total_squared,
                    total_cubed=values.total_cubed,
                )
                propensity = weight * PROPENSITY_PER_WEIGHT
                self._tallies[index] += weighted(
                    count,
                    {METRIC: sums},
                    propensity,
                    variant=index,
                    weights=packed,
                    n_variants=len(weights),
                )
        return Tally(variants=dict(enumerate(self._tallies)))


def _ended(
    assigned: NDArray[np.int64], means: FloatArray, units: int | None, *, is_right: bool
) -> Run:
    lost = float((assigned * (means.max() - means)).sum())
    return Run(units, is_right, lost, float(assigned[-1] / assigned.sum()))
