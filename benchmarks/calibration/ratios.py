"""Alarm rates of the test of the sample ratio."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.mismatch import alarms
from benchmarks.simulation.traffic import Traffic, Weights

_SEED = 2026_06
_QUICK_LOOKS = 200
_PRODUCT_ALPHA = 0.001
_TENTH, _TWENTIETH = 0.9, 0.95
_LOSSES = {_TENTH: "a tenth", _TWENTIETH: "a twentieth"}


def mismatch() -> Section:
    """Return experiments that arrive as assigned, and some that do not."""
    equal = [
        (Traffic((0.1,) * n_arms, weights, units_per_look=1_000), alpha)
        for alpha in (_PRODUCT_ALPHA, 0.05)
        for weights in (Weights.EVEN, Weights.THOMPSON)
        for n_arms in (2, 3)
    ]
    lossy = [
        (Traffic((0.1,) * n_arms, weights, looks=looks, units_per_look=100), kept)
        for n_arms, weights, looks, kept in (
            (2, Weights.EVEN, 400, _TENTH),
            (2, Weights.TOP_TWO, 400, _TENTH),
            (3, Weights.THOMPSON, 600, _TENTH),
            (3, Weights.THOMPSON, 2_000, _TWENTIETH),
        )
    ]
    return Section(
        "mismatch",
        "False alarms of the sample ratio",
        "Rate 10 %, 1,000 looks, a million units. The product alarms at 0.1 %: one experiment "
        "in a thousand, in all of its life, is halted by chance. At 5 % there are enough alarms "
        "to count them. In the last rows one variant loses a tenth of its units or a twentieth, "
        "looked at every 100 of 40,000 (two variants), 60,000 and 200,000 (three).",
        {"raised": "ever alarmed", "units": "median units at the alarm"},
        (
            *(
                _row(traffic, alpha, None, Claim("raised", at_most=alpha))
                for traffic, alpha in equal
            ),
            *(
                _row(traffic, _PRODUCT_ALPHA, kept, Claim("raised", at_least=0.95))
                for traffic, kept in lossy
            ),
        ),
    )


def _row(traffic: Traffic, alpha: float, kept: float | None, claim: Claim) -> Row:
    cells = {
        "variants": str(len(traffic.rates)),
        "shares": str(traffic.weights).replace("_", "-"),
        "alarm at": f"{alpha:.1%}".replace(".0%", "%").replace("%", " %"),
        "units lost": "none" if kept is None else f"{_LOSSES[kept]} of one variant",
    }
    return Row(
        slug(f"{' '.join(cells.values())}"),
        cells,
        partial(_alarmed, traffic, alpha, kept),
        _repetitions(alpha, kept),
        200 if kept is None else 50,
        (claim,),
    )


def _repetitions(alpha: float, kept: float | None) -> int:
    """Return how many experiments are run; an alarm in a thousand takes the most."""
    if kept is None:
        return 20_000 if alpha == _PRODUCT_ALPHA else 4_000
    return 4_000 if kept == _TWENTIETH else 1_000


def _alarmed(
    traffic: Traffic,
    alpha: float,
    kept: float | None,
    size: Size,
    progress: Progress,
) -> Result:
    looks = min(traffic.looks, _QUICK_LOOKS) if size.is_quick and kept is None else traffic.looks
    found = alarms(
        replace(traffic, looks=looks),
        size.repetitions,
        _SEED,
        kept=None if kept is None else (*[1.0] * (len(traffic.rates) - 1), kept),
        alpha=alpha,
        progress=progress,
    )
    measures = {"raised": found.raised}
    if kept is None:
        return Result(size.repetitions, measures)
    return Result(size.repetitions, measures | {"units": Mean(found.median_units)})
