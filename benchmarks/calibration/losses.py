"""Regret of policies, through the code that tallies and allocates."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.regret import CASES, GROWING, LOW_CLICK_RATES, Case, regret
from streams.policies.thompson_sampling import ThompsonSampling

HORIZON = 20_000
THOMPSON_LOSES = 90.5
"""Clicks in 20,000 units that Thompson sampling lost in 100 independent runs of another program."""

_SEED = 2026
_CHECKPOINTS = (*(int(1_000 * 20 ** (step / 12)) for step in range(12)), HORIZON)
_EARLY = (10, 20, 50, 100, 200, 500)
_LATE = (100_000, 200_000, 500_000)
_SLOW = 40  # runs of a policy that is asked at every unit
_THOMPSON = Case("Thompson", ThompsonSampling(min_allocation=0.0), GROWING)


def losses() -> Section:
    """Return the policies on ten arms."""
    return Section(
        "regret",
        "Regret, and what the floor costs",
        "Ten variants with the click rates 10 %, three of 5 %, three of 2 % and three of 1 %, "
        "over 20,000 units: clicks lost against always assigning the best variant. An even "
        f"split loses {LOW_CLICK_RATES.even_split * HORIZON:,.0f}. Every run goes through the "
        "tallies and the integer weights of production. Another program's Thompson sampling "
        f"lost {THOMPSON_LOSES} ± 1.4 clicks; within 10 % of that is claimed. All floors are 0 "
        "but where one is declared. The default floor, 1 % for each variant, is what keeps every "
        "propensity large enough for an estimate from the log; on ten variants a tenth of the "
        "traffic pays for it. A floor that falls with time costs a third of that, and "
        "propensities stay exact.",
        {"early": "lost in 1,000", "lost": "lost in 20,000"},
        tuple(_row(case) for case in CASES),
    )


def slope() -> Section:
    """Return Thompson sampling in the long run."""
    return Section(
        "slope",
        "Growth of regret in the long run",
        "The same variants, Thompson sampling without a floor, from 100,000 to 1,000,000 units. By "
        "Lai and Robbins no policy that is good everywhere can lose less than C clicks for each "
        f"e-fold of the units in the limit; here C = {LOW_CLICK_RATES.lai_robbins:.2f}. 0.7 to 1.3 "
        "of it is claimed.",
        {"slope": "slope over C", "lost": "lost in 1,000,000"},
        (
            Row(
                "thompson",
                {"policy": "Thompson"},
                _grown,
                100,
                2,
                (Claim("slope", at_least=0.7, at_most=1.3),),
            ),
        ),
    )


def _row(case: Case) -> Row:
    is_thompson = case.label == _THOMPSON.label
    is_fast = case.batches.fraction > 0.0 or case.batches.smallest > 1
    bounds = Claim("lost", at_least=0.9 * THOMPSON_LOSES, at_most=1.1 * THOMPSON_LOSES)
    return Row(
        slug(case.label),
        {"policy": case.label},
        partial(_lost, case),
        200 if is_thompson else 100 if is_fast else _SLOW,
        4 if is_thompson else 0,
        (bounds,) if is_thompson else (),
    )


def _lost(case: Case, size: Size, progress: Progress) -> Result:
    checkpoints = (*_EARLY, *_CHECKPOINTS)
    generator = np.random.default_rng(_SEED)
    found = regret(case, LOW_CLICK_RATES, checkpoints, generator, size.repetitions, progress)
    means, errors = found.means, found.errors
    early = checkpoints.index(1_000)
    return Result(
        size.repetitions,
        {
            "early": Mean(means[early], errors[early], size.repetitions),
            "lost": Mean(means[-1], errors[-1], size.repetitions),
        },
        {"lost": ([float(units) for units in checkpoints], [round(mean, 3) for mean in means])},
    )


def _grown(size: Size, progress: Progress) -> Result:
    checkpoints = (*_EARLY, *_CHECKPOINTS, *_LATE)
    generator = np.random.default_rng(_SEED)
    ends = (_LATE[0], 1_000_000)
    grid = (*checkpoints, ends[1]) if not size.is_quick else ends
    found = regret(_THOMPSON, LOW_CLICK_RATES, grid, generator, size.repetitions, progress)
    growth = np.log(ends[1] / ends[0]) * LOW_CLICK_RATES.lai_robbins
    slopes = (found.runs[:, -1] - found.runs[:, grid.index(ends[0])]) / growth
    error = float(slopes.std(ddof=1)) / len(slopes) ** 0.5
    return Result(
        size.repetitions,
        {
            "slope": Mean(float(slopes.mean()), error, size.repetitions),
            "lost": Mean(found.means[-1], found.errors[-1], size.repetitions),
        },
        {"lost": ([float(units) for units in grid], [round(mean, 3) for mean in found.means])},
    )
