"""Units that come at once and convert late: how often a rule errs that is asked all the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.amounts import LogNormal
from benchmarks.simulation.late import METRIC, Late, LateCounts, late_conversions
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import ComparedSums, Rule, judge
from benchmarks.simulation.traffic import Traffic
from streams.experiments.plan import PlanSpec
from streams.planning.simulation import running_experiment, simulate
from streams.stats.kinds import MetricKind

Measurement = Callable[[Size, Progress], Result]

_SEED = 2026_28
_QUICK_DAYS = 20
_TWO_MONTHS = 60
_NAMED = (Claim("named", at_most=0.05),)
_PRICES = 0.1  # spread of amounts that are nearly alike, as those of subscriptions


def late() -> Section:
    """Return the experiments without a better variant whose values come late."""
    binary = (
        Late(5_000, 0.002),
        Late(5_000, 0.002, days=90),
        Late(20_000, 0.005, looks_a_day=24),
        Late(20_000, 0.005, days=90, looks_a_day=24),
    )
    counted = (
        Late(1_000, 0.05),
        Late(1_000, 0.05, days=90),
        Late(500, 0.05, looks_a_day=24),
    )
    bought = (
        Late(2_000, 0.008, amounts=LogNormal(_PRICES)),
        Late(2_000, 0.02, amounts=LogNormal(_PRICES)),
        Late(2_000, 0.006, amounts=LogNormal(_PRICES), returned=0.5),
    )
    rows = (
        *(
            _row(environment, kind, plan, partial(_once, environment, kind, plan), 4_000)
            for environments, kind in ((binary, MetricKind.BINARY), (bought, MetricKind.REVENUE))
            for environment in environments
            for plan in (
                None,
                _plan(environment, 1.0 - (1.0 - environment.daily_rate) ** environment.days),
            )
        ),
        *(
            _row(
                environment,
                "count",
                plan,
                partial(_counts, environment, plan),
                _count_repetitions(environment),
            )
            for environment in counted
            for plan in (None, _plan(environment, environment.daily_rate * environment.days))
        ),
    )
    return Section(
        "late",
        "Units at once, conversions late",
        "Equal variants whose units all come on the first day, as in most tests by user, and "
        "convert for months: with an information that is reached at the end, or without a plan. "
        "Binary metrics are simulated in arrays, and so are purchases of nearly equal amounts, one "
        "of a user at most (`revenue`); counts through `evaluate()`. At most 5 % may ever name a "
        "variant. What is paid back after five days, without a conversion window, comes and goes "
        "more often than the plan has information for: there is no claim.",
        {"named": "ever declared"},
        rows,
    )


def _plan(environment: Late, reached: float) -> PlanSpec:
    mean, deviation = round(reached * (1.0 - environment.returned), 3), None
    if environment.amounts is not None:
        deviation = round(math.sqrt(mean * math.exp(_PRICES**2) - mean * mean), 3)
    return PlanSpec(baseline=mean, lift=0.1, units=environment.units, deviation=deviation)


def _row(
    environment: Late, kind: str, plan: PlanSpec | None, run: Measurement, repetitions: int
) -> Row:
    looks = "daily" if environment.looks_a_day == 1 else "hourly"
    cells = {
        "metric": kind,
        "units a variant": f"{environment.units:,}",
        "a day": f"{environment.daily_rate:.1%}".replace("%", " %"),
        "days": str(environment.days),
        "looks": looks,
        "plan": "none" if plan is None else f"{plan.baseline:g}",
    }
    share = f"{environment.daily_rate:g} " if environment.amounts else ""
    share += "returned " if environment.returned else ""
    name = slug(f"{kind} {share}{environment.days} {looks} {'planned' if plan else 'unplanned'}")
    quick = 20 if kind == "count" else 400
    if environment.looks_a_day > 1 and (kind == "count" or environment.days > _TWO_MONTHS):
        quick = 0  # of which the smaller cut has the same with daily looks
    if environment.returned:
        cells["metric"] += ", half of them paid back"
        return Row(name, cells, run, repetitions)
    return Row(name, cells, run, repetitions, quick, _NAMED)


def _count_repetitions(environment: Late) -> int:
    """Return the repetitions of counts, of which each look is an evaluation."""
    return 200 if environment.looks_a_day == 1 else 50


def _once(
    environment: Late, kind: MetricKind, plan: PlanSpec | None, size: Size, progress: Progress
) -> Result:
    if size.is_quick:
        environment = replace(environment, days=_QUICK_DAYS, looks_a_day=1)
    amounts = None if environment.amounts is None else (environment.amounts,) * 2
    traffic = Traffic(
        (environment.daily_rate,) * 2,
        looks=environment.looks,
        units_per_look=2 * environment.units,
        amounts=amounts,
    )
    arrived = late_conversions(environment, size.repetitions, _SEED)
    rule = Rule(ComparedSums.PLAIN, plan=plan, at_once=True, kind=kind)
    found = judge(traffic, rule, size.repetitions, arrived, progress)
    return _result(int((found.declared >= 0).sum()), size)


def _counts(environment: Late, plan: PlanSpec | None, size: Size, progress: Progress) -> Result:
    if size.is_quick:
        environment = Late(environment.units, environment.daily_rate, _QUICK_DAYS)
    config = {
        "name": "late",
        "type": "bayesian_ab",
        "primaryMetric": METRIC,
        "metrics": {METRIC: {"kind": "count"}},
        "plan": None if plan is None else plan.model_dump(exclude_none=True),
    }
    experiment = running_experiment(config, 2)
    units = [2 * environment.units] + [0] * (environment.looks - 1)
    declared = 0
    for number in progress(range(size.repetitions)):
        generator = np.random.default_rng([_SEED, number])
        runs = simulate(experiment, LateCounts(environment), units, generator)
        declared += any(each.snapshot.winner is not None for each in runs)
    return _result(declared, size)


def _result(declared: int, size: Size) -> Result:
    return Result(size.repetitions, {"named": Proportion(declared, size.repetitions)}, {})
