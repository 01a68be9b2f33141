"""Savings and costs of giving up a planned lift."""

from __future__ import annotations

from functools import partial
from itertools import repeat

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.proportion import Proportion
from streams.experiments.plan import PlanSpec
from streams.experiments.statistics.recommendation import ReasonCode
from streams.planning.assumed import Assumption, ValueKind
from streams.planning.runs import METRIC, AssumedValues
from streams.planning.simulation import running_experiment, simulate

_SEED = 2026_29
_PLAN = PlanSpec(baseline=0.1, lift=0.1, units=20_000)
_LOOKS = 42


def futility() -> Section:
    """Return planned experiments that end with the first recommendation to end them."""
    return Section(
        "futility",
        "A planned lift that is given up",
        "10 % against 11 %, 20,000 units a variant planned, through `evaluate()`, looked at every "
        "1,000 units of both. *Found* counts the winners that are ever declared, and *found first* "
        "those before the lift was given up: an experiment that ends with the first recommendation "
        "finds these.",
        {
            "found": "found",
            "first": "found first",
            "given_up": "given up",
            "units": "mean units at the first end",
        },
        tuple(
            Row(
                name,
                {"difference": text},
                partial(_ended, lift),
                400,
                0,
                (Claim("first", at_least=0.8),) if lift else (Claim("first", at_most=0.05),),
            )
            for name, text, lift in (("lift", "the planned lift", 0.1), ("none", "none", 0.0))
        ),
    )


def _ended(lift: float, size: Size, progress: Progress) -> Result:
    config = {
        "name": "futility",
        "type": "bayesian_ab",
        "unit": "impression",
        "primaryMetric": METRIC,
        "plan": _PLAN.model_dump(exclude_none=True),
    }
    experiment = running_experiment(config, 2)
    means = (_PLAN.baseline, _PLAN.baseline * (1.0 + lift))
    assumed = Assumption(ValueKind.BINARY, _PLAN.baseline, _PLAN.lift)
    found = first = given_up = 0
    units = []
    for number in progress(range(size.repetitions)):
        generator = np.random.default_rng([_SEED, number])
        source = AssumedValues(assumed, means)
        is_given_up, declared_at, given_up_at = False, None, None
        intervals = simulate(experiment, source, repeat(1_000, _LOOKS), generator)
        for look, interval in enumerate(intervals, 1):
            snapshot = interval.snapshot
            if snapshot.winner is not None:
                declared_at = look
                break
            if snapshot.reason_code is ReasonCode.FUTILE and not is_given_up:
                is_given_up, given_up_at = True, look
        found += declared_at is not None
        first += declared_at is not None and not is_given_up
        given_up += is_given_up
        units.append(1_000.0 * (given_up_at or declared_at or _LOOKS))
    spread = float(np.std(units, ddof=1)) / size.repetitions**0.5
    return Result(
        size.repetitions,
        {
            "found": Proportion(found, size.repetitions),
            "first": Proportion(first, size.repetitions),
            "given_up": Proportion(given_up, size.repetitions),
            "units": Mean(float(np.mean(units)), spread, size.repetitions),
        },
        {},
    )
