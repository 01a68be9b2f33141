"""Whole experiments run on drawn values, through the code that allocates and decides for real ones.

The sequential test is the experiment's own rule, which may be asked at every moment: so one run
goes on until `recommendedAction` is `conclude_winner`, and the same run with an adaptive policy is
that of a bandit. It looks, and allocates, after so many units as `looks` says: every hundred at
first and then every twentieth part of what there is. Looking seldom makes the test a little later
and the bandit a little slower than they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.statistics import RecommendedAction
from streams.model.errors import InputError, InvalidParameterError
from streams.model.quantities import ALLOCATION_TOTAL, PROPENSITY_ONE
from streams.planning.assumed import Assumed, Values
from streams.planning.fixed import Design
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.registry import POLICIES
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted

FIRST_STEP = 100
"""Units between two looks, at least."""

STEP_SHARE = 0.05
"""Units between two looks, as a part of those so far."""

METRIC = "metric"
_WEIGHT_TO_PROPENSITY = PROPENSITY_ONE // ALLOCATION_TOTAL


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one experiment.

    Attributes:
        units: Units at which a winner was recommended; None if none was within the horizon.
        is_right: Whether it was the best variant.
        lost: What was lost against the best variant over the horizon, in units of the metric; from
            the recommendation on everybody gets the winner.
        share_best: Share of the units of the horizon that got the best variant.
    """

    units: int | None
    is_right: bool
    lost: float
    share_best: float


def planned_experiment(
    design: Design, policy: str, parameters: Mapping[str, Any], min_sample_size: int | None = None
) -> Experiment:
    """Return a running experiment as somebody would create it with this design.

    Args:
        design: What is asked of it.
        policy: Its `type`.
        parameters: Parameters of the policy, by their names in JSON.
        min_sample_size: Units every variant must have; None for the default.

    Raises:
        InputError: policy or parameters are none, with code and path; or the policy decides by the
            request (`CONTEXTUAL_POLICY`), of which a plan assumes nothing.
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
    variants = [
        {"name": f"variant {index}", "isControl": index == 0} for index in range(design.n_variants)
    ]
    definition = parse_definition(config, variants)
    return Experiment(
        number=0,
        definition=definition,
        status=Status.RUNNING,
        version=2,
        created_at_ms=0,
        started_at_ms=0,
        started_version=2,
        planned_units=definition.config.min_sample_size,
    )


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


def run(experiment: Experiment, assumed: Assumed, horizon: int, random: np.random.Generator) -> Run:
    """Return what comes of one experiment.

    Args:
        experiment: It, running.
        assumed: What is true of its metric.
        horizon: Units after which it ends, >= 1.
        random: Where assignments and values are drawn from.

    Raises:
        InvalidParameterError: `horizon` is not positive.
    """
    n_variants = len(experiment.definition.variants)
    means = assumed.means(n_variants)
    tallies = [VariantTally(metrics={METRIC: MetricTally()}) for _ in means]
    weights = evaluate(experiment, Tally(), ()).allocation.weights
    assigned = np.zeros(n_variants, np.int64)
    before = 0
    for units in looks(horizon):
        counts = random.multinomial(units - before, np.array(weights) / ALLOCATION_TOTAL)
        assigned += counts
        for index, (count, weight) in enumerate(zip(counts.tolist(), weights, strict=True)):
            if count:
                values = assumed.draw(random, means[index], count)
                tallies[index] += _tally(count, weight, values)
        snapshot = evaluate(experiment, Tally(variants=dict(enumerate(tallies))), ())
        if snapshot.recommended_action is RecommendedAction.CONCLUDE_WINNER:
            winner = snapshot.winner
            assert winner is not None  # noqa: S101 - it is what the action means
            assigned[winner] += horizon - units
            return _ended(assigned, means, units, is_right=winner == n_variants - 1)
        weights, before = snapshot.allocation.weights, units
    return _ended(assigned, means, None, is_right=False)


def _tally(units: int, weight: int, values: Values) -> VariantTally:
    """Return what is counted of units that were assigned with an integer weight."""
    metric = MetricTally(values.units, values.units, values.total, values.total_squared)
    return weighted(units, {METRIC: metric}, weight * _WEIGHT_TO_PROPENSITY)


def _ended(
    assigned: np.ndarray[Any, np.dtype[np.int64]],
    means: Sequence[float],
    units: int | None,
    *,
    is_right: bool,
) -> Run:
    lost = float((assigned * (max(means) - np.array(means))).sum())
    return Run(units, is_right, lost, float(assigned[-1] / assigned.sum()))
