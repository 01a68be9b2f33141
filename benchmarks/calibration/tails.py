"""False differences of means between amounts of unlike shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from benchmarks.calibration.errors import name_of
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size, thinned
from benchmarks.simulation import stopping
from benchmarks.simulation.amounts import Amounts, Gamma, LogNormal, Mixed, Pareto
from benchmarks.simulation.stopping import ComparedSums, Rule
from benchmarks.simulation.traffic import Traffic, Weights

_SEED = 2026_29
_LOOKS = 300
_ERROR = 0.05
_QUICK_LOOKS = 60
_FEW_UNITS = 3_000
_MOST_UNITS = 300_000

_PLAIN, _OVERLAP = Rule(ComparedSums.PLAIN), Rule(ComparedSums.OVERLAP)


@dataclass(frozen=True, slots=True)
class _Environment:
    """Amounts of equal means in two variants.

    Attributes:
        buyers: Share of the units that have one, in (0, 1].
        amounts: Of either variant.
        units: Units of both.
        weights: How the traffic is shared.
        looks: How often everything is looked at.
        lift: How many more units of the first variant have an amount, relative.
        cap: Declared largest amount; None without one.
        winsorize: Percentile at which amounts are capped; None without one.
        repetitions: How often it is repeated.
        error: Probability of a wrong winner that the rule is made for.
        is_claimed: Whether at most 5 % of the experiments may name a winner wrongly.
    """

    buyers: float
    amounts: tuple[Amounts, Amounts]
    units: int
    weights: Weights = Weights.EVEN
    looks: int = _LOOKS
    lift: float = 0.0
    cap: float | None = None
    winsorize: float | None = None
    repetitions: int = 3_000
    error: float = _ERROR
    is_claimed: bool = True


def _equal() -> list[_Environment]:
    light, middle, heavy = LogNormal(0.5), LogNormal(1.0), LogNormal(2.0)
    without_variance = light, Pareto(1.5)
    unlike = [
        (0.5, (light, heavy)),
        (0.5, (middle, heavy)),
        (0.1, without_variance),
        (0.02, (light, heavy)),
    ]
    found = [
        _Environment(buyers, amounts, units)
        for buyers, amounts in unlike
        for units in (_FEW_UNITS, 30_000)
    ]
    found += [
        _Environment(0.5, (light, LogNormal(1.5)), 3_000),
        _Environment(1.0, (light, Pareto(2.5)), 3_000),
        _Environment(1.0, (Gamma(10.0), Gamma(0.1)), 3_000),
        _Environment(0.5, (middle, middle), 3_000),
        _Environment(0.1, (Pareto(2.5), Pareto(1.5)), 30_000),
        _Environment(0.01, (middle, middle), 30_000),
        _Environment(1.0, (Mixed(0.01, 0.3),) * 2, 30_000),
    ]
    # One of forty slices: a normal approximation is worse the further out it is.
    found += [
        _Environment(1.0, (light, amounts), 30_000, looks=30, error=_ERROR / 40, is_claimed=False)
        for amounts in (Pareto(2.5), LogNormal(1.5))
    ]
    rare = LogNormal(0.5), Mixed(0.001, 0.3)
    found += [
        _Environment(1.0, rare, 30_000, weights, cap=400.0)
        for weights in (Weights.EVEN, Weights.THOMPSON)
    ]
    found += [
        _Environment(buyers, (amounts,) * 2, units, looks=100, winsorize=percentile)
        for buyers, amounts, units, percentile in (
            (1.0, Mixed(0.01, 0.3), 3_000, 0.99),
            (0.5, LogNormal(2.0), 3_000, 0.95),
            (0.1, Pareto(1.5), 30_000, 0.99),
            (0.02, LogNormal(1.0), 30_000, 0.9),
        )
    ]
    found += [
        _Environment(
            buyers,
            amounts,
            units,
            looks=looks,
            # Without a variance, no number of units is enough for that many looks.
            is_claimed=amounts != without_variance or units < _MOST_UNITS,
        )
        for buyers, amounts in unlike[:3]
        for units, looks in ((100_000, 60), (_MOST_UNITS, _LOOKS))
    ]
    found += [_Environment(buyers, amounts, 30_000, Weights.THOMPSON) for buyers, amounts in unlike]
    return found


def _different() -> list[_Environment]:
    same = [LogNormal(0.5), LogNormal(1.0), LogNormal(1.5)]
    return [
        *(_Environment(0.5, (each, each), 30_000, lift=0.3, repetitions=400) for each in same),
        _Environment(
            0.5, (LogNormal(1.5),) * 2, 30_000, looks=100, winsorize=0.99, lift=0.3, repetitions=200
        ),
        _Environment(0.5, (LogNormal(1.5),) * 2, 30_000, cap=20.0, lift=0.3, repetitions=400),
        _Environment(0.8, (LogNormal(0.3),) * 2, 30_000, cap=4.0, lift=0.1, repetitions=400),
        _Environment(0.8, (LogNormal(0.3),) * 2, 30_000, lift=0.1, repetitions=400),
        _Environment(0.05, (LogNormal(0.7),) * 2, 30_000, lift=0.3, repetitions=400),
        _Environment(
            0.5, (LogNormal(1.0),) * 2, 30_000, Weights.THOMPSON, lift=0.3, repetitions=400
        ),
    ]


def tails() -> Section:
    """Return amounts with equal means, and some of the same shape with different ones."""
    return Section(
        "tails",
        "Amounts of unlike shapes",
        "Two variants whose units have an amount with a certain chance, log-normal with a spread, "
        "Pareto with an index (no variance up to 2), gamma with a shape, or rare and large. Means "
        "are equal but where a lift is stated, and then the shapes are alike. Nothing is concluded "
        "of a tail that has not been seen (`TAILS_UNSEEN`): the light variant would win in 20 to "
        "40 % of these experiments. A tail without a variance is never seen whole: of many units "
        "and looks more err. With a cap the comparison is exact, and no tail counts. One in per "
        "cent is a percentile of the amounts that came (`winsorize`).",
        {"wrong": "wrong winner", "right": "right winner", "units": "mean units"},
        tuple(map(_row, (*_equal(), *_different()))),
    )


def _row(environment: _Environment) -> Row:
    names = [each.name for each in environment.amounts]
    cells = {
        "amounts": names[0] if names[0] == names[1] else " / ".join(names),
        "units with one": f"{environment.buyers:.3g}",
        "units": f"{environment.units:,}",
        "error": f"{environment.error:.3%}" if environment.error != _ERROR else "",
        "shares": str(environment.weights),
        "cap": _cap(environment),
        "looks": str(environment.looks),
        "lift": f"{environment.lift:.0%}" if environment.lift else "",
    }
    return Row(
        name_of(cells),
        cells,
        partial(_judged, environment),
        environment.repetitions,
        50 if environment.units == _FEW_UNITS else 0,
        (Claim("wrong", at_most=_ERROR),) if environment.is_claimed else (),
    )


def _cap(environment: _Environment) -> str:
    if environment.winsorize is not None:
        return f"{environment.winsorize:.1%}"
    return "" if environment.cap is None else f"{environment.cap:g}"


def _judged(environment: _Environment, size: Size, progress: Progress) -> Result:
    looks = _QUICK_LOOKS if size.is_quick else environment.looks
    better = environment.buyers * (1.0 + environment.lift)
    traffic = Traffic(
        (better, environment.buyers),
        environment.weights,
        looks=looks,
        units_per_look=environment.units // looks,
        amounts=environment.amounts,
        cap=environment.cap,
        winsorize=environment.winsorize,
    )
    rule = replace(_OVERLAP if environment.weights.move else _PLAIN, alpha=environment.error)
    found = stopping.run(traffic, rule, size.repetitions, _SEED, progress)
    measures: dict[str, Measure] = {"wrong": found.wrong}
    if environment.lift:
        measures["right"] = found.declared
        measures["units"] = Mean(found.mean_units, found.error_units, size.repetitions)
    looked, shares = thinned(found.declared_by, size.repetitions)
    return Result(
        size.repetitions,
        measures,
        {"named": ([look * traffic.units_per_look for look in looked], shares)},
    )
