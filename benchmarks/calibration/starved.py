"""Variants that have none of the later units, compared by 1 / propensity."""

from __future__ import annotations

from functools import partial

from benchmarks.calibration.errors import name_of
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation import stopping
from benchmarks.simulation.amounts import LogNormal
from benchmarks.simulation.stopping import ComparedSums, Rule
from benchmarks.simulation.traffic import Traffic, Weights

_SEED = 2026_73
_REPETITIONS = 1_000
_N_VARIANTS = 17
_LOOKS = 60
_UNITS = 12_000


def starved() -> Section:
    """Return equal variants of which all but one have hardly a unit after the base rate rose."""
    settings = [
        _row(_traffic(later, floor)) for later in (1.25, 1.6) for floor in (0.0001, 0.001, None)
    ]
    return Section(
        "starved",
        "Variants without later units",
        f"{_N_VARIANTS} equal variants, more than receipts carry the weights of, so units count by "
        f"1 / propensity. {_UNITS:,} units, {_LOOKS} looks; four tenths of the units have an "
        "amount, log-normal with a spread of 0.3, and more of them in the second half, which the "
        "first variant has but for the floor. With a floor of 0.01 % a variant has 0.6 of those "
        "units on average. At most 5 % may ever miss the difference of the first two, or name a "
        "winner.",
        {"missed": "ever missed", "wrong": "ever a winner"},
        tuple(settings),
    )


def _traffic(later: float, floor: float | None) -> Traffic:
    return Traffic(
        (0.4,) * _N_VARIANTS,
        Weights.TURN,
        looks=_LOOKS,
        units_per_look=_UNITS // _LOOKS,
        floor=floor,
        later=later,
        amounts=(LogNormal(0.3),) * _N_VARIANTS,
    )


def _row(traffic: Traffic) -> Row:
    cells = {
        "floor": f"{traffic.least_share:.2%}",
        "more later": f"{traffic.later - 1.0:.0%}",
    }
    claims = tuple(Claim(name, at_most=0.05) for name in ("missed", "wrong"))
    return Row(name_of(cells), cells, partial(_judged, traffic), _REPETITIONS, 0, claims)


def _judged(traffic: Traffic, size: Size, progress: Progress) -> Result:
    rule = Rule(ComparedSums.INVERSE, min_units=1)
    found = stopping.run(traffic, rule, size.repetitions, _SEED, progress)
    return Result(size.repetitions, {"missed": found.missed, "wrong": found.wrong})
