"""Losses of contextual policies beside those of another library, and the cost of floors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.contextual import (
    CATEGORIES,
    DRAWS,
    MIXED,
    NUMBERS,
    THEIRS,
    Chooser,
    Drawn,
    EnvironmentFamily,
    MABWiser,
    Production,
    lost,
    ratio,
)
from streams.policies.contextual.lin_ts import LinTS
from streams.policies.contextual.lin_ucb import LinUCB

_SEED = 2026_34
_HORIZON = 10_000
_BATCH = 100
_ENVIRONMENTS = 24
_STEADY = "LinUCB 0.5"
_FLOORS: Mapping[str, Mapping[str, float]] = {
    "none": {"min_allocation": 0.0},
    "falling": {},
    "constant": {"min_allocation": 0.01},
}


def peers() -> Section:
    """Return the contextual policies beside MABWiser."""
    return Section(
        "contextual",
        "Regret of contextual policies",
        f"Logistic environments with ten variants, {_HORIZON:,} units, models every {_BATCH} "
        "units: expected clicks lost against the best variant of each context. Without floors, "
        "through integer tallies, models and integer weights of production, with default "
        "parameters. MABWiser is tried with `LinTS` and `LinUCB` at three alphas each on the same "
        f"contexts. Its one setting that loses least over all these environments, {_STEADY}, is "
        "what the others are compared with: at most 5 % more is claimed. Which one loses least in "
        "a single row is known afterwards only.",
        {
            "lin_ts": "`lin_ts` loses",
            "lin_ucb": "`lin_ucb` loses",
            "theirs": f"MABWiser's {_STEADY} loses",
            "best": "MABWiser's best of the row loses",
            "ts_ratio": "`lin_ts` over the one",
            "ucb_ratio": "`lin_ucb` over the one",
            "best_ratio": "`lin_ts` over the other",
        },
        tuple(
            Row(
                slug(family.name),
                {"features and click rate": family.name},
                partial(_compared, family),
                _ENVIRONMENTS,
                0,
                (Claim("ts_ratio", at_most=1.05), Claim("ucb_ratio", at_most=1.05)),
            )
            for family in (NUMBERS, CATEGORIES, MIXED)
        ),
    )


def draws() -> Section:
    """Return where the draws of linear Thompson sampling may come from."""
    return Section(
        "contextual-draws",
        "Draws of linear Thompson sampling",
        f"`lin_ts` in the same environments, {_HORIZON:,} units, without floors and without "
        "MABWiser: with a Normal draw for each variant, with one for all of them, with its "
        "absolute value, and as it is, where that ends at 2.",
        {
            "independent": "a draw for each",
            "common": "one for all",
            "above": "none below the mean",
            "lin_ts": "`lin_ts`",
            "ratio": "`lin_ts` over a draw for each",
        },
        tuple(
            Row(
                slug(family.name),
                {"features and click rate": family.name},
                partial(_drawn, family),
                _ENVIRONMENTS,
                0,
                (Claim("ratio", at_most=0.8),),
            )
            for family in (NUMBERS, CATEGORIES)
        ),
    )


def floors() -> Section:
    """Return what the floor of a contextual policy costs."""
    return Section(
        "contextual-floor",
        "What the floor of a contextual policy costs",
        f"`lin_ts` in the environments of the first row above, {_HORIZON:,} units. By default the "
        "floor falls from 1 % for each of ten variants with the square root of the units, to a "
        "tenth in the end; *constant* is 1 % for good. At most 20 % more than without a floor is "
        "claimed.",
        {
            "none": "lost without a floor",
            "falling": "with the default",
            "constant": "with a constant one",
            "ratio": "default over none",
            "constant_ratio": "constant over none",
        },
        (
            Row(
                "lin-ts",
                {"features and click rate": NUMBERS.name},
                _with_floors,
                _ENVIRONMENTS,
                0,
                (Claim("ratio", at_most=1.2),),
            ),
        ),
    )


def _compared(family: EnvironmentFamily, size: Size, progress: Progress) -> Result:
    ours = {
        kind.type: kind(features=family.features, min_allocation=0.0) for kind in (LinTS, LinUCB)
    }
    losses: dict[str, list[float]] = {name: [] for name in (*ours, *THEIRS)}
    for environment in progress(range(size.repetitions)):
        choosers: dict[str, Chooser] = {
            **{name: Production(policy, family.n_arms) for name, policy in ours.items()},
            **{
                name: MABWiser(policy, family.n_arms, environment)
                for name, policy in THEIRS.items()
            },
        }
        for name, chooser in choosers.items():
            losses[name].append(lost(family, environment, chooser, _HORIZON, _BATCH, _SEED))
    best = min(THEIRS, key=lambda name: float(np.mean(losses[name])))
    return Result(
        size.repetitions,
        {
            "lin_ts": _mean(losses["lin_ts"]),
            "lin_ucb": _mean(losses["lin_ucb"]),
            "theirs": _mean(losses[_STEADY]),
            "best": _mean(losses[best]),
            "ts_ratio": _ratio(losses["lin_ts"], losses[_STEADY]),
            "ucb_ratio": _ratio(losses["lin_ucb"], losses[_STEADY]),
            "best_ratio": _ratio(losses["lin_ts"], losses[best]),
        },
    )


def _drawn(family: EnvironmentFamily, size: Size, progress: Progress) -> Result:
    policy = LinTS(features=family.features, min_allocation=0.0)
    losses: dict[str, list[float]] = {name: [] for name in (*DRAWS, "lin_ts")}
    for environment in progress(range(size.repetitions)):
        choosers: dict[str, Chooser] = {
            name: Drawn(policy, family.n_arms, source) for name, source in DRAWS.items()
        }
        choosers["lin_ts"] = Production(policy, family.n_arms)
        for name, chooser in choosers.items():
            losses[name].append(lost(family, environment, chooser, _HORIZON, _BATCH, _SEED))
    measures: dict[str, Measure] = {name: _mean(found) for name, found in losses.items()}
    measures["ratio"] = _ratio(losses["lin_ts"], losses["independent"])
    return Result(size.repetitions, measures)


def _with_floors(size: Size, progress: Progress) -> Result:
    losses: dict[str, list[float]] = {name: [] for name in _FLOORS}
    for environment in progress(range(size.repetitions)):
        for name, stated in _FLOORS.items():
            policy = LinTS(features=NUMBERS.features, **stated)
            chooser = Production(policy, NUMBERS.n_arms)
            losses[name].append(lost(NUMBERS, environment, chooser, _HORIZON, _BATCH, _SEED))
    measures: dict[str, Measure] = {name: _mean(found) for name, found in losses.items()}
    measures["ratio"] = _ratio(losses["falling"], losses["none"])
    measures["constant_ratio"] = _ratio(losses["constant"], losses["none"])
    return Result(size.repetitions, measures)


def _mean(values: list[float]) -> Mean:
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Mean(float(np.mean(values)), error, len(values))


def _ratio(ours: list[float], theirs: list[float]) -> Mean:
    return Mean(*ratio(ours, theirs), len(ours))
