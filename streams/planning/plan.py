"""Result of planning an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from streams.experiments.lifecycle import Experiment
from streams.model.errors import InvalidParameterError
from streams.planning.assumed import Assumption
from streams.planning.fixed import Design
from streams.planning.runs import Run, run

HORIZON_FACTOR = 4
"""Simulated experiments continue for so many times the fixed size."""


@dataclass(frozen=True, slots=True)
class SimulatedRuns:
    """Summary of many simulated experiments.

    Attributes:
        n_runs: How many.
        horizon: Units after which they ended at the latest.
        found: Share that named the best variant within the horizon.
        wrong: Share that named another one.
        found_by_fixed_size: Share that had named the best variant by the fixed size.
        median_units: Units by which half of them had named it; None if half did not.
        power_units: Units by which the share `power` had; None if fewer did.
        lost: Mean of what was lost against the best variant over the horizon, in units of the
            metric; once a winner is named, all users get it.
        share_best: Mean share of the units of the horizon that got the best variant.
    """

    n_runs: int
    horizon: int
    found: float
    wrong: float
    found_by_fixed_size: float
    median_units: int | None
    power_units: int | None
    lost: float
    share_best: float


def lost_by_fixed_size(
    assumed: Assumption, design: Design, fixed_units: int, horizon: int
) -> float:
    """Return what a test of fixed size loses against the best variant, in units of the metric.

    Until its end the variants share alike. Then all users get the best one, if the test finds it,
    and otherwise the control.

    Args:
        assumed: What is true of the metric.
        design: What was asked of the test.
        fixed_units: Its units.
        horizon: Units over which is counted, >= `fixed_units`.
    """
    testing = fixed_units * (1.0 - 1.0 / design.n_variants)
    after = (horizon - fixed_units) * (1.0 - design.power)
    return (testing + after) * assumed.difference


def simulated(
    experiment: Experiment,
    assumed: Assumption,
    horizon: int,
    n_runs: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Run]:
    """Return the outcomes of many experiments, each with its own seed derived from `seed`.

    Args:
        experiment: It, running.
        assumed: What is true of its metric.
        horizon: Units after which each ends, >= 1.
        n_runs: How many, >= 1.
        seed: Seed, >= 0.
        advance: Called with the number that have ended since the last call.
    """
    runs = []
    for number in range(n_runs):
        runs.append(run(experiment, assumed, horizon, np.random.default_rng([seed, number])))
        advance(1)
    return runs


def outlook(runs: Sequence[Run], design: Design, horizon: int, fixed_units: int) -> SimulatedRuns:
    """Return the summary of many simulated experiments.

    Args:
        runs: Result of each; at least one.
        design: What was asked of them.
        horizon: Units after which they ended.
        fixed_units: Units of all variants in a test of fixed size.

    Raises:
        InvalidParameterError: there are no runs.
    """
    if not runs:
        raise InvalidParameterError("runs", 0, ">= 1")
    found = sorted(each.units for each in runs if each.units is not None and each.is_right)
    n_runs = len(runs)
    return SimulatedRuns(
        n_runs=n_runs,
        horizon=horizon,
        found=len(found) / n_runs,
        wrong=sum(each.units is not None and not each.is_right for each in runs) / n_runs,
        found_by_fixed_size=sum(units <= fixed_units for units in found) / n_runs,
        median_units=_reached(found, n_runs, 0.5),
        power_units=_reached(found, n_runs, design.power),
        lost=math.fsum(each.lost for each in runs) / n_runs,
        share_best=math.fsum(each.share_best for each in runs) / n_runs,
    )


def _reached(found: Sequence[int], n_runs: int, share: float) -> int | None:
    """Return the units by which a share of all runs had found the best variant."""
    wanted = max(1, math.ceil(share * n_runs - 1e-9))
    return found[wanted - 1] if len(found) >= wanted else None
