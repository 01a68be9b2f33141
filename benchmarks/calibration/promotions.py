"""Whom automatic promotion lets through: harm to a guardrail, and effects that come and go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.outcomes import Outcomes, promoted, promotion_of, snapshots_of
from benchmarks.simulation.production import METRIC, running
from benchmarks.simulation.proportion import Proportion
from streams.analysis.auto_promotion import due_command
from streams.experiments.metrics import DEFAULT_MARGIN
from streams.experiments.promotion_state import DEFAULT_CONTROL_SHARE
from streams.experiments.statistics.recommendation import ReasonCode
from streams.model.events import CommandKind
from streams.stats.arrays import FloatArray

_SEED = 2026_33
_CRASH = "crash"
_CRASH_RATE = 0.01
_DECREASING = {"kind": "binary", "direction": "decrease"}
_ERROR_RATE = 0.02
_NEGLIGIBLE = 0.1
_AT_THE_BOUND = _NEGLIGIBLE / (1.0 - _NEGLIGIBLE)  # lift over the control; of the leader it is 10 %
_ALIKE_RATE = 0.3
_ALIKE_UNITS = tuple(np.diff(np.geomspace(500, 80_000, 26)).round().astype(int).tolist())
_GUARDED_RATES = (0.12, 0.10)
_GUARDED_UNITS = tuple(np.diff(np.geomspace(500, 300_000, 26)).round().astype(int).tolist())

_HOURS = 12
_HOUR_MS = 3_600_000
_LOOKS_A_DAY = 24 // _HOURS
_DAYS = 15
_MONDAY = 0
_SATURDAY = 5
_A_WEEK = 7
_BASE_RATE = 0.1
_MANY = 100_000
_FEW = 10_000
_RUNS = 110  # one error is within 5 %, at 95 %

_NEVER = Claim("promoted", at_most=0.05)
_MOSTLY = Claim("promoted", at_least=0.9)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A variant that wins, and what it does to a guardrail."""

    harm: float
    mode: str
    margin: float | None = None
    policy: str = "bayesian_ab"
    claims: tuple[Claim, ...] = (_NEVER,)

    @property
    def cells(self) -> dict[str, str]:
        margin = self.margin or DEFAULT_MARGIN
        is_asked = self.mode == "non_inferiority"
        return {
            "harm": f"{self.harm:+.0%}".replace("%", " %") if self.harm else "none",
            "mode": f"`{self.mode}`",
            "margin": f"{margin:.0%}".replace("%", " %") if is_asked else "",
            "policy": f"`{self.policy}`",
        }

    def outcomes(self) -> Outcomes:
        looks = len(_GUARDED_UNITS)
        crashes = (_CRASH_RATE * (1.0 + self.harm), _CRASH_RATE)
        rates = {METRIC: np.tile(_GUARDED_RATES, (looks, 1)), _CRASH: np.tile(crashes, (looks, 1))}
        return Outcomes(rates, _HOUR_MS, _GUARDED_UNITS)

    def config(self) -> Mapping[str, Any]:
        declared: dict[str, Any] = _DECREASING | {"mode": self.mode}
        if self.margin is not None:
            declared["margin"] = self.margin
        return {
            "minDuration": 0,
            "guardrailMetrics": [_CRASH],
            "metrics": {_CRASH: declared},
        }


def guarded() -> Section:
    """Return winners with and without harm."""
    proven = "non_inferiority"
    settings = (
        _Guarded(0.5, "harm", claims=()),
        _Guarded(DEFAULT_MARGIN, proven),
        _Guarded(0.5, proven),
        _Guarded(0.5, proven, 0.5),
        _Guarded(0.5, proven, policy="thompson_sampling"),
        _Guarded(0.0, proven, claims=(_MOSTLY,)),
        _Guarded(0.0, proven, policy="thompson_sampling", claims=(_MOSTLY,)),
    )
    return Section(
        "guarded",
        "Guardrails of a promotion",
        "A variant with 12 % against 10 % of conversions, which it proves soon, and a guardrail "
        f"with an event in {_CRASH_RATE:.0%} of the units of the control: ".replace("%", " %")
        + f"through `evaluate()` and `obstacles()`, looked at 25 times up to "
        f"{sum(_GUARDED_UNITS):,} units. A harmful variant may be promoted in 5 %; the mode `harm` "
        "is there to show why a margin is the default.",
        {"promoted": "promoted", "units": "mean units"},
        tuple(
            Row(slug(" ".join(each.cells.values())), each.cells, partial(_guarded, each), _RUNS, 0,
                each.claims)
            for each in settings
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Swing:
    """An effect that comes and goes with the days or the hours."""

    name: str
    text: str
    effects: FloatArray
    units: int
    policy: str = "bayesian_ab"
    claims: tuple[Claim, ...] = (_NEVER,)


def weeks() -> Section:
    """Return effects that are 0 over a week, and one that is not."""
    settings = (
        _Swing("monday", "+10 % on weekdays, −25 % at week-ends", _week(_MONDAY), _FEW),
        _Swing("saturday", "the same, from a Saturday on", _week(_SATURDAY), _FEW),
        _Swing("monday-busy", "the same, from a Monday on", _week(_MONDAY), _MANY),
        _Swing("moving", "the same", _week(_MONDAY), _FEW, "thompson_sampling"),
        _Swing("nights", "+30 % by day, −30 % by night", _day(0.3), _MANY),
        _Swing("steady", "+10 %", np.full(_DAYS * _LOOKS_A_DAY, 0.1), _FEW, claims=(_MOSTLY,)),
    )
    return Section(
        "weeks",
        "Effects that come and go",
        f"A control with {_BASE_RATE:.0%} and a variant that is better or worse by the ".replace(
            "%", " %"
        )
        + f"day, without `minDuration`, looked at every {_HOURS} hours of {_DAYS} days through "
        "`evaluate()` and `obstacles()`. Over a week the effects are 0, but in the last row, "
        "where there is one to be promoted.",
        {"promoted": "promoted", "day": "mean day of the promotion or the end"},
        tuple(
            Row(
                each.name,
                {
                    "effect": each.text,
                    "units a day": f"{_LOOKS_A_DAY * each.units:,}",
                    "policy": f"`{each.policy}`",
                },
                partial(_swinging, each),
                _RUNS,
                0,
                each.claims,
            )
            for each in settings
        ),
    )


def equivalence() -> Section:
    """Return variants that are called alike, rightly or not."""
    settings = (
        ("none", 0.0, "bayesian_ab", Claim("concluded", at_least=0.9)),
        ("bound", _AT_THE_BOUND, "bayesian_ab", Claim("concluded", at_most=0.05)),
        ("moving", _AT_THE_BOUND, "thompson_sampling", Claim("concluded", at_most=0.05)),
    )
    return Section(
        "equivalence",
        "Differences that are called negligible",
        f"A control with {_ALIKE_RATE:.0%} and a `negligibleDifference` of {_NEGLIGIBLE:.0%}, "
        "looked at 25 times up to "
        f"{sum(_ALIKE_UNITS):,} units. *Concluded* counts `conclude_no_difference` for "
        "`NO_DIFFERENCE` at any look: at most 5 % where the difference is a tenth of the leader's "
        "mean.".replace("%", " %"),
        {"concluded": "no difference concluded", "units": "mean units"},
        tuple(
            Row(
                name,
                {"lift": f"{lift:.0%}".replace("%", " %"), "policy": f"`{policy}`"},
                partial(_called_alike, lift, policy),
                _RUNS,
                0,
                (claim,),
            )
            for name, lift, policy, claim in settings
        ),
    )


def rollbacks() -> Section:
    """Return winners that were promoted, with and without harm."""
    settings = (
        ("none", 0.0, Claim("taken_back", at_most=0.05)),
        ("twice", 1.0, Claim("taken_back", at_least=0.9)),
    )
    return Section(
        "rollbacks",
        "Winners that are taken back",
        f"A promoted winner beside a control that keeps {DEFAULT_CONTROL_SHARE:.0%} of the units, "
        f"and a guardrail with an event in {_ERROR_RATE:.0%} of the units of the control, looked "
        f"at 25 times up to {sum(_GUARDED_UNITS):,} units.".replace("%", " %"),
        {"taken_back": "taken back", "units": "mean units until then or the end"},
        tuple(
            Row(
                name,
                {"harm": f"{harm:+.0%}".replace("%", " %") if harm else "none"},
                partial(_taken_back, harm),
                _RUNS,
                0,
                (claim,),
            )
            for name, harm, claim in settings
        ),
    )


def _week(first: int) -> FloatArray:
    """Return the effect of each look, from a day of the week on; Monday is 0."""
    days = (first + np.arange(_DAYS)) % _A_WEEK
    return np.repeat(np.where(days < _SATURDAY, 0.1, -0.25), _LOOKS_A_DAY)


def _day(size: float) -> FloatArray:
    """Return the effect of each look where half of a day is the opposite of the other."""
    is_day = np.arange(_DAYS * _LOOKS_A_DAY) % _LOOKS_A_DAY < _LOOKS_A_DAY // 2
    return np.where(is_day, size, -size)


def _guarded(setting: _Guarded, size: Size, progress: Progress) -> Result:
    experiment = running(setting.policy, 2, autoPromoteWinner=True, **setting.config())
    outcomes = setting.outcomes()
    found = [promotion_of(experiment, outcomes, each) for each in _generators(size, progress)]
    return Result(
        size.repetitions,
        {
            "promoted": Proportion(sum(each.winner == 0 for each in found), size.repetitions),
            "units": _mean([each.units for each in found]),
        },
    )


def _swinging(setting: _Swing, size: Size, progress: Progress) -> Result:
    experiment = running(setting.policy, 2, autoPromoteWinner=True)
    looks = len(setting.effects)
    rates = np.column_stack((_BASE_RATE * (1.0 + setting.effects), np.full(looks, _BASE_RATE)))
    outcomes = Outcomes({METRIC: rates}, _HOURS * _HOUR_MS, (setting.units,) * looks)
    found = [promotion_of(experiment, outcomes, each) for each in _generators(size, progress)]
    return Result(
        size.repetitions,
        {
            "promoted": Proportion(sum(each.look > 0 for each in found), size.repetitions),
            "day": _mean([(each.look or looks) / _LOOKS_A_DAY for each in found]),
        },
    )


def _called_alike(lift: float, policy: str, size: Size, progress: Progress) -> Result:
    floor = {} if policy == "bayesian_ab" else {"parameters": {"minAllocation": 0.25}}
    experiment = running(policy, 2, negligibleDifference=_NEGLIGIBLE, **floor)
    rates = np.tile((_ALIKE_RATE * (1.0 + lift), _ALIKE_RATE), (len(_ALIKE_UNITS), 1))
    outcomes = Outcomes({METRIC: rates}, _HOUR_MS, _ALIKE_UNITS)
    concluded, units = 0, []
    for generator in _generators(size, progress):
        end = sum(_ALIKE_UNITS)
        for look, snapshot in enumerate(snapshots_of(experiment, outcomes, generator), 1):
            if snapshot.reason_code is ReasonCode.NO_DIFFERENCE:
                concluded, end = concluded + 1, sum(_ALIKE_UNITS[:look])
                break
        units.append(end)
    measures: dict[str, Measure] = {
        "concluded": Proportion(concluded, size.repetitions),
        "units": _mean(units),
    }
    return Result(size.repetitions, measures)


def _taken_back(harm: float, size: Size, progress: Progress) -> Result:
    guarded = {"guardrailMetrics": [_CRASH], "metrics": {_CRASH: _DECREASING}}
    experiment = promoted(running("bayesian_ab", 2, **guarded))
    events = (_ERROR_RATE * (1.0 + harm), _ERROR_RATE)
    rates = np.tile(events, (len(_GUARDED_UNITS), 1))
    outcomes = Outcomes({_CRASH: rates}, _HOUR_MS, _GUARDED_UNITS)
    taken_back, units = 0, []
    for generator in _generators(size, progress):
        end = sum(_GUARDED_UNITS)
        for look, snapshot in enumerate(snapshots_of(experiment, outcomes, generator), 1):
            command = due_command(snapshot)
            if command is not None and command.kind is CommandKind.ROLLBACK:
                taken_back, end = taken_back + 1, sum(_GUARDED_UNITS[:look])
                break
        units.append(end)
    measures: dict[str, Measure] = {
        "taken_back": Proportion(taken_back, size.repetitions),
        "units": _mean(units),
    }
    return Result(size.repetitions, measures)


def _generators(size: Size, progress: Progress) -> Iterator[np.random.Generator]:
    """Yield one generator for each run."""
    generators = np.random.default_rng(_SEED).spawn(size.repetitions)
    yield from (generators[run] for run in progress(range(size.repetitions)))


def _mean(values: list[float] | list[int]) -> Mean:
    found = np.array(values, dtype=np.float64)
    return Mean(float(found.mean()), float(found.std(ddof=1)) / len(found) ** 0.5, len(found))
