"""Cost of a changing environment, with all units alike and with their times distinguished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.drift import DriftRun, Environment, simulate_drift
from benchmarks.simulation.production import running
from benchmarks.simulation.proportion import Proportion

_SEED = 2026_11
_HOUR_MS = 3_600_000
_UNITS = 500
_SURE = 0.95
_LOOKS = 200
_TWO_WEEKS = 14 * 24
_WEEKDAYS = 5
_BUSY = 3.0


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    text: str
    environment: Environment
    periods: Mapping[str, Any]
    claims: tuple[Claim, ...]


def changing() -> Section:
    """Return experiments under non-stationarity, each simulated twice with the same draws."""
    return Section(
        "changing",
        "Non-stationarity",
        f"Two variants under Thompson sampling with its default floor, {_UNITS} units and one "
        "evaluation an hour, through the tallies and `evaluate()` of production. Every experiment "
        "is simulated twice: with all units alike, and with `periods` as the row says. *Lost* are "
        "the conversions that the better variant of each hour would have had beyond those there "
        "were. *Biased* is the share of experiments at whose end the worse variant is the best one "
        "with more than 95 %: what strata are there for, whatever is lost.",
        {
            "alike": "lost, all alike",
            "lost": "lost",
            "saved": "saved",
            "misled": "biased, all alike",
            "wrong": "biased",
        },
        tuple(
            Row(
                each.name,
                {
                    "environment": each.text,
                    "periods": ", ".join(map(_option, each.periods.items())),
                },
                partial(_simulated, each),
                80,
                0,
                each.claims,
            )
            for each in _settings()
        ),
    )


def _settings() -> tuple[_Setting, ...]:
    saves, right = Claim("saved", at_least=0.0), Claim("wrong", at_most=0.05)
    steady = np.tile([0.05, 0.04], (_LOOKS, 1))
    turned = steady.copy()
    turned[:] = np.where(np.arange(_LOOKS)[:, None] < _LOOKS // 2, [0.06, 0.04], [0.03, 0.05])
    is_busy = np.arange(_TWO_WEEKS) // 24 % 7 >= _WEEKDAYS
    weeks = np.where(is_busy, _BUSY, 1.0)[:, None] * np.array([0.022, 0.020])
    a_day = {"halfLife": 86_400}
    return (
        _Setting(
            "turned",
            "6 % and 4 %; after 100 of 200 hours 3 % and 5 %",
            Environment(turned, _HOUR_MS, _UNITS),
            a_day,
            (saves, right),
        ),
        _Setting(
            "steady",
            "5 % and 4 % for 200 hours: what forgetting costs",
            Environment(steady, _HOUR_MS, _UNITS),
            a_day,
            (),
        ),
        _Setting(
            "week-ends",
            "2.2 % and 2.0 % for two weeks, three times as much on Saturdays and Sundays",
            Environment(weeks, _HOUR_MS, _UNITS),
            {"stratified": True},
            (right,),
        ),
        _Setting(
            "delays",
            "5 % and 4 % for 200 hours, conversions after two days on average",
            Environment(steady, _HOUR_MS, _UNITS, delay_ms=48.0 * _HOUR_MS),
            {"delayed": True},
            (saves, right),
        ),
        _Setting(
            "week-ends-and-delays",
            "the two weeks, conversions after a day on average",
            Environment(weeks, _HOUR_MS, _UNITS, delay_ms=24.0 * _HOUR_MS),
            {"stratified": True, "delayed": True},
            (right,),
        ),
    )


def _option(option: tuple[str, Any]) -> str:
    name, value = option
    return f"`{name}`" if value is True else f"`{name}` {value:,} s"


def _simulated(setting: _Setting, size: Size, progress: Progress) -> Result:
    both: tuple[list[DriftRun], list[DriftRun]] = ([], [])
    for run in progress(range(size.repetitions)):
        for runs, periods in zip(both, (None, setting.periods), strict=True):
            generator = np.random.default_rng((_SEED, run))
            experiment = running("thompson_sampling", 2, periods=periods)
            runs.append(simulate_drift(experiment, setting.environment, generator))
    alike, apart = (np.array([run.lost for run in runs]) for runs in both)
    hours = [float(hour) for hour in range(1, len(setting.environment.rates) + 1)]
    return Result(
        size.repetitions,
        {
            "alike": _mean(alike.sum(axis=1)),
            "lost": _mean(apart.sum(axis=1)),
            "saved": _mean((alike - apart).sum(axis=1)),
            "misled": _biased(setting.environment, both[0]),
            "wrong": _biased(setting.environment, both[1]),
        },
        {
            name: (hours, [round(lost, 2) for lost in each.mean(axis=0).cumsum().tolist()])
            for name, each in (("alike", alike), ("lost", apart))
        },
    )


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> Mean:
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return Mean(float(values.mean()), error, len(values))


def _biased(environment: Environment, runs: list[DriftRun]) -> Proportion:
    worse = int(environment.rates[-1].argmin())
    sure = [run.snapshots[-1].variants[worse].probability_best > _SURE for run in runs]
    return Proportion(sum(sure), len(sure))
