"""Units that covariates save, and the errors beside them."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Group, Progress, Row, Size
from benchmarks.simulation.covariates import CovariateWorld, experiment_of, named_at
from benchmarks.simulation.proportion import Proportion

_SEED = 2026_31
_LEAD = 0.08
_FIXED = "bayesian_ab"


def covariates() -> Group:
    """Return experiments with a covariate and without, on worlds of the same seeds."""
    saving = (
        (_FIXED, CovariateWorld(0.5, _LEAD), 0.20),
        (_FIXED, CovariateWorld(0.7, _LEAD), 0.42),
        (_FIXED, CovariateWorld(0.7, _LEAD, missing=0.3), 0.42),
    )
    equal = (
        (_FIXED, CovariateWorld(0.7)),
        (_FIXED, CovariateWorld(0.7, missing=0.3, swing=1.0)),
    )
    return Group(
        "covariates",
        "Covariates",
        "Values of variance 1 and a covariate of each unit, through the tallies and `evaluate()` "
        f"of production, looked at every 400 units up to 24,000; the better variant is ahead by "
        f"{_LEAD}. *Saved* is the part of the units that the covariate saves until a winner is "
        "declared. *Wrong* are winners that are not better, with the covariate.",
        {"saved": "units saved", "right": "right winner", "wrong": "wrong winner"},
        (
            *(
                _row(policy, world, 100, (Claim("saved", at_least=least),))
                for policy, world, least in saving
            ),
            *(_row(policy, world, 300, ()) for policy, world in equal),
        ),
    )


def _row(policy: str, world: CovariateWorld, repetitions: int, claims: tuple[Claim, ...]) -> Row:
    lead = "ahead" if world.lead else "equal"
    parts = [policy.replace("_", "-"), f"{world.correlation:g}", lead]
    parts += ["missing"] * (world.missing > 0.0) + ["swing"] * (world.swing > 0.0)
    return Row(
        "-".join(parts),
        {
            "policy": f"`{policy}`",
            "correlation": f"{world.correlation:g}",
            "missing": f"{world.missing:.0%}".replace("%", " %"),
            "lead": f"{world.lead:g}" + (", all rise and fall" if world.swing else ""),
        },
        partial(_measured, policy, world),
        repetitions,
        0,
        (Claim("wrong", at_most=0.05), *claims),
    )


def _measured(policy: str, world: CovariateWorld, size: Size, progress: Progress) -> Result:
    n = size.repetitions
    found = []
    for has_covariate in (True, False) if world.lead else (True,):
        experiment = experiment_of(policy, has_covariate=has_covariate)
        generators = np.random.default_rng(_SEED).spawn(n)
        runs = [named_at(experiment, world, generators[run]) for run in progress(range(n))]
        found.append(runs)
    named = [winner for _, winner in found[0]]
    is_wrong = [winner == 1 or (winner == 0 and not world.lead) for winner in named]
    measures: dict[str, Measure] = {"wrong": Proportion(sum(is_wrong), n)}
    if world.lead:
        looks = [np.array([look or world.looks for look, _ in runs]) for runs in found]
        measures["right"] = Proportion(named.count(0), n)
        measures["saved"] = Mean(1.0 - float(looks[0].mean() / looks[1].mean()))
    return Result(n, measures)
