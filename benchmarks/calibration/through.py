"""The decision rules through the code of production: the same answers, and whom it promotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.errors import describe, slug
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size, thinned
from benchmarks.calibration.winners import LEAST_UNITS, MOST_TIMES
from benchmarks.simulation.production import SimulatedRun, running, simulate_clicks, together
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import ComparedSums, Rule, happened_by, judge
from benchmarks.simulation.traffic import Traffic, Weights
from streams.experiments.definition import DECIDING_SHARE
from streams.experiments.plan import PlanSpec
from streams.model.quantities import ALLOCATION_TOTAL

_SEED = 2026_25
_RATES = (0.05, 0.04)
_LOOKS = 200
_UNITS = 500
_FEW_LOOKS = 60
_PLAN = PlanSpec(baseline=0.2, lift=0.5, units=1_000)
_POLICIES = {
    Weights.EVEN: "bayesian_ab",
    Weights.THOMPSON: "thompson_sampling",
    Weights.TOP_TWO: "top_two_thompson",
}


def agreement() -> Section:
    """Return the settings in which both are asked."""
    floor = 0.05
    exact = int(floor * ALLOCATION_TOTAL) / ALLOCATION_TOTAL  # as the integer weights have it
    moving = {"parameters": {"minAllocation": floor}}
    settings: tuple[tuple[Traffic, Rule, Mapping[str, Any]], ...] = (
        (Traffic((0.3, 0.2)), Rule(ComparedSums.PLAIN), {}),
        (
            Traffic((0.3, 0.2)),
            Rule(ComparedSums.PLAIN, plan=_PLAN),
            {"plan": _PLAN.model_dump(exclude_none=True), "unit": "impression"},
        ),
        (Traffic((0.35, 0.2, 0.2, 0.2)), Rule(ComparedSums.PLAIN), {}),
        *(
            (Traffic(rates, weights, floor=exact), Rule(reading), moving)
            for rates, reading in (
                ((0.3, 0.2), ComparedSums.OVERLAP),
                ((0.5, 0.3, 0.3), ComparedSums.OVERLAP),
            )
            for weights in (Weights.THOMPSON, Weights.TOP_TWO)
        ),
    )
    return Section(
        "agreement",
        "The simulation and production say the same",
        "The tables above come from arrays that hold thousands of experiments at once. Here "
        "every experiment is simulated through cells, tallies and `evaluate()` as in production, "
        f"{_FEW_LOOKS} looks long, and the arrays are given the same data. *Differ* counts the "
        "experiments in which the two first name a variant at another look, or another variant.",
        {"named": "winner declared", "differ": "differ"},
        tuple(
            Row(
                slug(" ".join(describe(traffic, rule).values())),
                describe(traffic, rule) | {"rates": _all_rates(traffic)},
                partial(_compared, traffic, rule, config),
                40,
                3,
                (Claim("differ", at_most=0.0),),
            )
            for traffic, rule, config in settings
        ),
    )


def _all_rates(traffic: Traffic) -> str:
    return ", ".join(f"{rate:.0%}".replace("%", " %") for rate in traffic.rates)


def promoted() -> Section:
    """Return the experiments that promote their winner by themselves."""
    settings: tuple[tuple[Weights, dict[str, Any]], ...] = (
        (Weights.EVEN, {}),
        (Weights.TOP_TWO, {}),
        (Weights.THOMPSON, {}),
        (Weights.THOMPSON, {"minAllocation": 0.01}),
    )
    return Section(
        "promoted",
        "Automatic promotion, through production",
        "5 % against 4 % again, through `evaluate()` and every obstacle to a "
        f"promotion (`autoPromoteWinner`), looked at every {_UNITS} units up to "
        f"{_LOOKS * _UNITS:,}. At least 95 % right promotions are claimed, and units within "
        f"three times of the bound of {LEAST_UNITS:,}. An experiment that promotes automatically "
        "shares half of its units evenly, unless `minAllocation` says otherwise; the floor of 1 % "
        "for each variant, which others have, is there to show why.",
        {
            "right": "right promotion",
            "wrong": "wrong promotion",
            "units": "mean units",
            "times": "over the bound",
        },
        tuple(_promotion(weights, parameters) for weights, parameters in settings),
    )


def _promotion(weights: Weights, parameters: dict[str, Any]) -> Row:
    default = DECIDING_SHARE / len(_RATES)
    floor = parameters.get("minAllocation", default) if weights.move else ""
    cells = {"policy": f"`{_POLICIES[weights]}`", "floor": f"{floor}"}
    is_meant = weights is not Weights.THOMPSON or not parameters
    claims = (
        Claim("right", at_least=0.95),
        Claim("wrong", at_most=0.05),
        Claim("times", at_most=MOST_TIMES),
    )
    return Row(
        slug(f"{weights} {floor}"),
        cells,
        partial(_promoted, weights, parameters),
        200,
        0,
        claims if is_meant else claims[1:2],
    )


def _compared(
    traffic: Traffic, rule: Rule, config: Mapping[str, Any], size: Size, progress: Progress
) -> Result:
    traffic = replace(traffic, looks=_FEW_LOOKS)
    experiment = running(_POLICIES[traffic.weights], len(traffic.rates), **config)
    generators = np.random.default_rng(_SEED).spawn(size.repetitions)
    runs = [
        simulate_clicks(
            experiment, traffic.rates, traffic.looks, traffic.units_per_look, generators[run]
        )
        for run in progress(range(size.repetitions))
    ]
    judged = judge(traffic, rule, size.repetitions, together(runs))
    simulated = zip(judged.declared_at.tolist(), judged.declared.tolist(), strict=True)
    declared = [run.first_declared for run in runs]
    return Result(
        size.repetitions,
        {
            "named": Proportion(sum(look > 0 for look, _ in declared), size.repetitions),
            "differ": Mean(float(sum(a != b for a, b in zip(declared, simulated, strict=True)))),
        },
    )


def _promoted(
    weights: Weights, parameters: Mapping[str, Any], size: Size, progress: Progress
) -> Result:
    experiment = running(
        _POLICIES[weights],
        len(_RATES),
        autoPromoteWinner=True,
        minDuration=0,
        parameters=parameters,
    )
    generators = np.random.default_rng(_SEED).spawn(size.repetitions)
    runs = [
        simulate_clicks(experiment, _RATES, _LOOKS, _UNITS, generators[run], until_promoted=True)
        for run in progress(range(size.repetitions))
    ]
    return Result(size.repetitions, _measures(runs), {"named": _promoted_by(runs)})


def _measures(runs: list[SimulatedRun]) -> dict[str, Measure]:
    count = len(runs)
    winners = [run.winners[-1] if run.promoted_at else None for run in runs]
    units = np.array([run.units for run in runs], dtype=np.float64)
    mean, error = float(units.mean()), float(units.std(ddof=1)) / count**0.5
    return {
        "right": Proportion(winners.count(0), count),
        "wrong": Proportion(winners.count(1), count),
        "units": Mean(mean, error, count),
        "times": Mean(mean / LEAST_UNITS, error / LEAST_UNITS, count),
    }


def _promoted_by(runs: list[SimulatedRun]) -> tuple[list[float], list[float]]:
    first = np.array([run.promoted_at for run in runs])
    looks, shares = thinned(happened_by(first, _LOOKS), len(runs))
    return [look * _UNITS for look in looks], shares
