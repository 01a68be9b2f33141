"""Shares of experiments in which quantiles are declared different, and units needed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from scipy import special

from benchmarks.calibration.errors import name_of
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.amounts import Amounts, Counts, LogNormal, Mixed, Seldom
from benchmarks.simulation.quantiles import ComparedQuantiles, judge

_SEED = 2026_36
_LOOKS = 20
_FEW_UNITS = 3_000


@dataclass(frozen=True, slots=True)
class _Environment:
    """Two variants with a value for every unit.

    Attributes:
        values: Values of each variant; where they differ, scaled to the same quantile.
        p: Probability of the quantile.
        units: Units of both.
        swing: As in `ComparedQuantiles`; shares move along.
        lift: How much larger the quantile of the first variant is, relative.
        repetitions: How often it is repeated.
    """

    values: tuple[Amounts, Amounts]
    p: float
    units: int
    swing: float = 0.0
    lift: float = 0.0
    repetitions: int = 200


def quantiles() -> Section:
    """Return variants with equal quantiles, and some with different ones."""
    narrow, wide = LogNormal(0.5), LogNormal(2.0)
    environments = [
        *(
            _Environment(values, 0.95, units)
            for values in ((narrow, narrow), (narrow, wide))
            for units in (_FEW_UNITS, 30_000)
        ),
        _Environment((narrow, narrow), 0.5, 30_000),
        _Environment((Mixed(0.01, 0.3),) * 2, 0.99, 30_000),
        _Environment((narrow, narrow), 0.95, 30_000, swing=0.5),
        # Ties: the quantile is a value that many units have, most often 0.
        _Environment((Counts(3.0),) * 2, 0.5, _FEW_UNITS),
        _Environment((Counts(3.0),) * 2, 0.5, _FEW_UNITS, swing=0.5),
        _Environment((Seldom(0.49, 0.5), Seldom(0.1, 2.0)), 0.5, _FEW_UNITS),
        _Environment((Seldom(0.11, 0.5),) * 2, 0.9, _FEW_UNITS, swing=0.5),
        _Environment((narrow, narrow), 0.5, 30_000, lift=0.1, repetitions=100),
        _Environment((narrow, narrow), 0.95, 30_000, lift=0.1, repetitions=100),
        _Environment((narrow, narrow), 0.99, 60_000, lift=0.1, repetitions=100),
    ]
    return Section(
        "quantiles",
        "Quantiles",
        "Two variants whose units have a value each, log-normal with a spread, or rare and large, "
        "of equal quantiles unless a lift is stated. Counts have ties, and so have amounts that a "
        "part of the units has: the others count as 0. With a swing, all values swing together by "
        "half and the shares of the variants between 10 and 90 % along with them.",
        {"wrong": "wrongly different", "right": "found", "units": "mean units"},
        tuple(map(_row, environments)),
    )


def _row(environment: _Environment) -> Row:
    names = [each.name for each in environment.values]
    cells = {
        "values": names[0] if names[0] == names[1] else " / ".join(names),
        "percentile": f"{environment.p:g}",
        "units": f"{environment.units:,}",
        "swing": f"{environment.swing:.0%}" if environment.swing else "",
        "lift": f"{environment.lift:.0%}" if environment.lift else "",
    }
    return Row(
        name_of(cells),
        cells,
        partial(_judged, environment),
        environment.repetitions,
        20 if environment.units == _FEW_UNITS else 0,
        (Claim("wrong", at_most=0.05),),
    )


def _judged(environment: _Environment, size: Size, progress: Progress) -> Result:
    ratio = 1.0
    first, second = environment.values
    if isinstance(first, LogNormal) and isinstance(second, LogNormal):
        ratio = _quantile(second, environment.p) / _quantile(first, environment.p)
    compared = ComparedQuantiles(
        environment.values,
        (ratio * (1.0 + environment.lift), 1.0),
        environment.p,
        environment.units,
        _LOOKS,
        environment.swing,
        moves=environment.swing > 0.0,
    )
    found = judge(compared, size.repetitions, _SEED, progress)
    measures: dict[str, Measure] = {"wrong": found.lower if environment.lift else found.either}
    if environment.lift:
        measures["right"] = found.higher
        measures["units"] = Mean(found.mean_units, found.error_units, size.repetitions)
    return Result(size.repetitions, measures)


def _quantile(values: LogNormal, p: float) -> float:
    return math.exp(values.spread * float(special.ndtri(p)) - values.spread**2 / 2.0)
