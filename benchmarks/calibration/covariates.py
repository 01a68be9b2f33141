"""Units that covariates save, and the errors beside them."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.covariates import (
    CovariateEnvironment,
    Shape,
    Turns,
    declared_at,
    differs_at,
    experiment_of,
)
from benchmarks.simulation.proportion import Proportion
from streams.stats.arrays import FloatArray

_SEED = 2026_31
_FIXED = "bayesian_ab"
_MOVING = "thompson_sampling"
_TOP_TWO = "top_two_thompson"
_TURNS = Turns(0.1, 0.03)
_UNLIKE = (Shape.LIGHT, Shape.HEAVY)

_EQUAL: dict[str, tuple[str, int, CovariateEnvironment]] = {
    "fixed-missing": (_FIXED, 2, CovariateEnvironment(0.7, missing=0.3, swing=1.0)),
    "fixed-tails": (_FIXED, 2, CovariateEnvironment(0.9, rest=_UNLIKE)),
    "missing": (_MOVING, 2, CovariateEnvironment(0.7, missing=0.3, swing=1.0)),
    "missing-of-heavy": (
        _MOVING,
        2,
        CovariateEnvironment(0.9, is_missing_when_heavy=True),
    ),
    "sent-late": (_MOVING, 2, CovariateEnvironment(0.95, sent_from=0.1, turns=_TURNS)),
    "sent-late-3": (_MOVING, 3, CovariateEnvironment(0.95, sent_from=0.1, turns=_TURNS)),
    "sent-late-often": (
        _MOVING,
        2,
        CovariateEnvironment(0.95, sent_from=0.1, turns=_TURNS, units=400, looks=60),
    ),
    "reverses": (_MOVING, 2, CovariateEnvironment(0.95, last_correlation=-0.95)),
    "grows-top-two-3": (
        _TOP_TWO,
        3,
        CovariateEnvironment(0.0, last_correlation=0.95, turns=_TURNS),
    ),
    "drift": (_MOVING, 2, CovariateEnvironment(0.7, swing=1.0, drift=1.0)),
    "drift-top-two-5": (_TOP_TWO, 5, CovariateEnvironment(0.7, swing=1.0, drift=1.0)),
    "tails": (_MOVING, 2, CovariateEnvironment(0.7, covariate=Shape.HEAVY, rest=_UNLIKE)),
}


def covariates() -> Section:
    """Return experiments with a covariate and without, on environments of the same seeds."""
    saving = (
        (_FIXED, _ahead(0.5, 0.08), 500, 0.22),
        (_FIXED, _ahead(0.7, 0.08), 500, 0.42),
        (_FIXED, _ahead(0.7, 0.08, missing=0.3), 500, 0.42),
        (_MOVING, _ahead(0.5, 0.12), 200, 0.20),
        (_MOVING, _ahead(0.7, 0.12), 200, 0.42),
    )
    return Section(
        "covariates",
        "Covariates",
        "Values of variance 1 and a covariate of each unit, through the tallies and `evaluate()` "
        "of production. *Saved* is the part of the units that the covariate saves until a winner "
        "is declared, the better variant being ahead by the *lead*, with a look every 200 units, "
        "200 at most. Of equal variants, two of which at least must not ever be declared "
        "different, there are 24,000 units and 20 looks, or 60 (`often`). The correlation may "
        "change in a straight line, the covariate may be *sent* from a tenth of the units on, or "
        "be *missing* at random or while a variant has 70 % of the traffic. Weights that *turn* "
        "are even for a tenth of the units, and 97 % of the others are the first variant's and "
        "then the last one's. The mean of values and covariates may *drift*. *Tails* are "
        "log-normal, with the parameter 0.5 against 1.5.",
        {
            "saved": "units saved",
            "right": "right winner",
            "wrong": "wrong winner",
            "declared": "ever declared different",
        },
        (
            *(_row(*each) for each in saving),
            *(_row_of_equal(name, *each) for name, each in _EQUAL.items()),
        ),
    )


def _ahead(correlation: float, lead: float, missing: float = 0.0) -> CovariateEnvironment:
    return CovariateEnvironment(correlation, lead, missing=missing, units=200, looks=200)


def _row(policy: str, environment: CovariateEnvironment, repetitions: int, least: float) -> Row:
    parts = [policy.replace("_", "-"), f"{environment.correlation:g}", "ahead"]
    parts += ["missing"] * (environment.missing > 0.0)
    return Row(
        "-".join(parts),
        _cells(policy, 2, environment),
        partial(_saved, policy, environment),
        repetitions,
        0,
        (Claim("wrong", at_most=0.05), Claim("saved", at_least=least)),
    )


def _row_of_equal(
    name: str, policy: str, n_variants: int, environment: CovariateEnvironment
) -> Row:
    return Row(
        f"equal-{name}",
        _cells(policy, n_variants, environment),
        partial(_declared, policy, n_variants, environment),
        100,
        0,
        (Claim("declared", at_most=0.05),),
    )


def _cells(policy: str, n_variants: int, environment: CovariateEnvironment) -> dict[str, str]:
    last = environment.last_correlation
    weights = "turn" if environment.turns else f"`{policy}`"
    missing = f"{environment.missing:.0%}".replace("%", " %")
    if environment.is_missing_when_heavy:
        missing = "beside heavy traffic"
    elif environment.sent_from:
        missing = f"the first {environment.sent_from:.0%}".replace("%", " %")
    return {
        "variants": f"{n_variants}",
        "weights": weights,
        "correlation": f"{environment.correlation:g}" + ("" if last is None else f" to {last:g}"),
        "missing": missing,
        "lead": f"{environment.lead:g}",
    }


def _saved(
    policy: str, environment: CovariateEnvironment, size: Size, progress: Progress
) -> Result:
    n = size.repetitions
    found = []
    for has_covariate in (True, False):
        experiment = experiment_of(policy, has_covariate=has_covariate)
        generators = np.random.default_rng(_SEED).spawn(n)
        runs = [declared_at(experiment, environment, generators[run]) for run in progress(range(n))]
        found.append(runs)
    declared = [winner for _, winner in found[0]]
    looks = [
        np.array([look or environment.looks for look, _ in runs], np.float64) for runs in found
    ]
    measures: dict[str, Measure] = {
        "wrong": Proportion(declared.count(1), n),
        "right": Proportion(declared.count(0), n),
        "saved": _part_saved(*looks),
    }
    return Result(n, measures)


def _part_saved(looks: FloatArray, without: FloatArray) -> Mean:
    """Return the part of the looks that is saved, with the standard error of a ratio of means."""
    n, ratio = len(looks), float(looks.mean() / without.mean())
    spread = float((looks - ratio * without).std(ddof=1)) if n > 1 else 0.0
    return Mean(1.0 - ratio, spread / (float(without.mean()) * n**0.5), n)


def _declared(
    policy: str, n_variants: int, environment: CovariateEnvironment, size: Size, progress: Progress
) -> Result:
    n = size.repetitions
    experiment = experiment_of(policy, n_variants, has_covariate=True)
    generators = np.random.default_rng(_SEED).spawn(n)
    ever = sum(
        differs_at(experiment, environment, generators[run]) > 0 for run in progress(range(n))
    )
    return Result(n, {"declared": Proportion(ever, n)})
