"""Power of bets on conversions, and their errors where a plan is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.calibration.errors import judged, slug
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.calibration.winners import LEAST_UNITS
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import ComparedSums, Rule
from benchmarks.simulation.traffic import Traffic, Weights
from streams.experiments.plan import PlanSpec
from streams.stats.alternative import Alternative

_POWER_OF_80 = 6_745
_FLOOR = 0.25


@dataclass(frozen=True, slots=True)
class _Setting:
    traffic: Traffic
    plan: PlanSpec | None
    claim: Claim
    repetitions: int = 2_000
    alternative: Alternative = Alternative.TWO_SIDED

    @property
    def has_lead(self) -> bool:
        return len(set(self.traffic.rates)) > 1


def bets() -> Section:
    """Return experiments on rates, planned and not, with a better variant and without."""
    return Section(
        "bets",
        "Bets on conversions",
        "Rates compared by bets on conversions and, with a plan, by early stopping within it. "
        f"*Over the bound* are units over {LEAST_UNITS:,}, for 5 % against 4 %; those without "
        "a winner count with all their units. Without a better variant every name is an error. "
        "Their plans are right, or five times too high or too low; rates swing while the weights "
        "follow the data. With the alternative *better* the last variant, the control, is no "
        "winner.",
        {
            "right": "right winner",
            "wrong": "wrong winner",
            "units": "mean units",
            "times": "over the bound",
        },
        tuple(map(_row, (*_found(), *_equal()))),
    )


def _plan(rate: float, lift: float, units: int) -> PlanSpec:
    return PlanSpec(baseline=rate, lift=lift, units=units)


def _found() -> tuple[_Setting, ...]:
    rates = (0.05, 0.04)
    even, top_two, thompson = (
        Traffic(rates, weights, looks=500, floor=floor)
        for weights, floor in (
            (Weights.EVEN, None),
            (Weights.TOP_TWO, None),
            (Weights.THOMPSON, _FLOOR),
        )
    )
    high = Traffic((0.92, 0.90), looks=200, units_per_look=200)
    many = (
        (3, 200, 45_000.0),
        (5, 400, 90_000.0),
        (10, 1_000, 220_000.0),
    )
    return (
        *(
            _Setting(even, _plan(0.04, 0.25, units), Claim("times", at_most=1.55))
            for units in (_POWER_OF_80, 9_500, 20_000)
        ),
        _Setting(
            even,
            _plan(0.04, 0.25, _POWER_OF_80),
            Claim("times", at_most=1.35),
            alternative=Alternative.BETTER,
        ),
        _Setting(thompson, _plan(0.04, 0.25, _POWER_OF_80), Claim("times", at_most=2.05)),
        _Setting(top_two, _plan(0.04, 0.25, _POWER_OF_80), Claim("times", at_most=1.7)),
        _Setting(high, None, Claim("right", at_least=0.95)),
        _Setting(high, _plan(0.9, 0.02 / 0.9, 5_000), Claim("right", at_least=0.95)),
        *(
            _Setting(
                Traffic(
                    (0.05, *(0.04,) * (n_arms - 1)),
                    Weights.TOP_TWO,
                    looks=300,
                    units_per_look=units,
                    floor=0.01,
                ),
                None,
                Claim("units", at_most=most),
                200,
            )
            for n_arms, units, most in many
        ),
    )


def _equal() -> tuple[_Setting, ...]:
    planned = _plan(0.1, 0.1, 20_000)
    few = Claim("wrong", at_most=0.05)
    even = tuple(
        (Traffic((rate,) * 2, looks=300, units_per_look=units), planned)
        for rate, units in ((0.1, 400), (0.02, 2_000), (0.5, 150))
    )
    moving = tuple(
        (
            Traffic(
                (rate,) * n_arms, weights, looks=300, units_per_look=400, floor=0.05, swing=swing
            ),
            plan,
        )
        for rate, n_arms, weights, swing, plan in (
            (0.1, 2, Weights.THOMPSON, 0.8, planned),
            (0.1, 2, Weights.THOMPSON, 0.8, None),
            (0.1, 3, Weights.TOP_TWO, 0.8, planned),
            (0.6, 2, Weights.THOMPSON, 0.6, _plan(0.6, 0.1, 2_000)),
        )
    )
    better = tuple(
        (Traffic((0.1,) * n_arms, looks=300, units_per_look=400), plan)
        for n_arms, plan in ((2, planned), (2, None), (4, planned))
    )
    return (
        *(_Setting(traffic, plan, few) for traffic, plan in (*even, *moving)),
        *(_Setting(*each, few, alternative=Alternative.BETTER) for each in better),
    )


def _row(setting: _Setting) -> Row:
    traffic, plan = setting.traffic, setting.plan
    arms = len(traffic.rates)
    best, rest = traffic.rates[0], traffic.rates[-1]
    cells = {
        "rates": (f"{best:g} and {rest:g}" if setting.has_lead else f"{best:g}")
        + (f", {arms} variants" if arms > 2 else "")  # noqa: PLR2004 - more than a pair
        + (f", swing by {traffic.swing:.0%}".replace("%", " %") if traffic.swing else ""),
        "shares": str(traffic.weights).replace("_", "-"),
        "plan": "none" if plan is None else f"{plan.baseline:g}, {plan.units:,}",
        "alternative": str(setting.alternative).replace("_", " "),
    }
    claims: tuple[Claim, ...] = (setting.claim,)
    if setting.has_lead:
        claims = (*claims, Claim("wrong", at_most=0.05))
    return Row(
        slug(" ".join(cells.values()).removesuffix(" two sided").replace("%", "").replace(",", "")),
        cells,
        partial(_judged, setting),
        setting.repetitions,
        0,
        claims,
    )


def _judged(setting: _Setting, size: Size, progress: Progress) -> Result:
    reading = ComparedSums.OVERLAP if setting.traffic.weights.move else ComparedSums.PLAIN
    rule = Rule(reading, plan=setting.plan, alternative=setting.alternative)
    found = judged(setting.traffic, rule, size, progress)
    n = size.repetitions
    measures: dict[str, Measure] = {"wrong": found.wrong}
    if setting.has_lead:
        measures["right"] = Proportion(found.declared.events - found.wrong.events, n)
        measures["units"] = Mean(found.mean_units, found.error_units, n)
        if setting.traffic.rates == (0.05, 0.04):
            times = found.mean_units / LEAST_UNITS
            measures["times"] = Mean(times, found.error_units / LEAST_UNITS, n)
    return Result(n, measures)
