"""Variants whose conversions take unlike times, compared by all units and by the mature ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Measure, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.drift import Environment, declared_in_drift
from benchmarks.simulation.production import METRIC, running
from benchmarks.simulation.proportion import Proportion
from streams.stats.arrays import FloatArray

_SEED = 2026_33
_HOUR_MS = 3_600_000
_DAY_HOURS = 24.0
_WEEK_S = 7 * 86_400
_EQUAL = (0.05, 0.05)
_BETTER = (0.06, 0.05)
_FIXED, _THOMPSON, _TOP_TWO = "bayesian_ab", "thompson_sampling", "top_two_thompson"


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting of the table.

    Attributes:
        name: Name of the row.
        policy: How traffic is shared.
        delays: What the table says of the delays.
        hours: Mean delay of each variant in hours, of a shape that broadcasts to (looks, 2).
        window_s: Conversion window in seconds; 0 for none.
        rates: Conversion rates in the end.
        look_hours: Hours between two looks.
        looks: Number of looks.
        units: Units between two looks.
        kind: Kind of the metric.
        config: More of the configuration.
        environment: More of the environment.
        repetitions: Number of experiments.
    """

    name: str
    policy: str
    delays: str
    hours: FloatArray
    window_s: int
    rates: tuple[float, float] = _EQUAL
    look_hours: int = 24
    looks: int = 24
    units: int = 4_000
    kind: str = "binary"
    config: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    repetitions: int = 250


def delays() -> Section:
    """Return experiments whose variants convert sooner or later than each other."""
    return Section(
        "delays",
        "Conversions that take unlike times",
        "Two variants through the tallies and `evaluate()` of production, until one is declared. "
        "Delays are exponential, their means those of the first and of the second variant. Units "
        "come for 2 days with hourly looks without a window, and for 24 days, or 30, with daily "
        "looks with one. *Wrong* is the share of experiments in which a variant is declared that "
        "is not better in the end, *right* of those in which the better one is, after so many "
        "*days* on average.",
        {"wrong": "wrong", "right": "right", "days": "days"},
        tuple(
            Row(
                each.name,
                {
                    "rates": " and ".join(f"{rate:.0%}".replace("%", " %") for rate in each.rates),
                    "delays": each.delays,
                    "metric": each.kind,
                    "shares": each.policy + (", `delayed`" if each.config else ""),
                    "window": f"{each.window_s // 86_400} days" if each.window_s else "none",
                },
                partial(_simulated, each),
                each.repetitions,
                0,
                (Claim("wrong", at_most=0.05),) if each.window_s else (),
            )
            for each in _settings()
        ),
    )


def _settings() -> tuple[_Setting, ...]:
    day, half = np.array([1.0, 24.0]), np.array([6.0, 12.0])
    turning = np.where(np.arange(24)[:, None] < 12, day, day[::-1])  # noqa: PLR2004 - half of the looks
    at_once: dict[str, Any] = {"look_hours": 1, "looks": 48, "units": 500, "repetitions": 60}
    return (
        _Setting("day-none", _FIXED, "1 h and 24 h", day, 0, **at_once),
        _Setting("half-day-none", _FIXED, "6 h and 12 h", half, 0, **at_once),
        _Setting("slow-is-better-none", _FIXED, "1 h and 24 h", day, 0, _BETTER[::-1], **at_once),
        _Setting("day", _FIXED, "1 h and 24 h", day, _WEEK_S),
        _Setting("day-thompson", _THOMPSON, "1 h and 24 h", day, _WEEK_S),
        _Setting("day-top-two", _TOP_TWO, "1 h and 24 h", day, _WEEK_S),
        _Setting("half-day", _FIXED, "6 h and 12 h", half, 3 * 86_400),
        _Setting("half-day-thompson", _THOMPSON, "6 h and 12 h", half, 3 * 86_400),
        _Setting(
            "heavy-tails",
            _FIXED,
            "6 h and 24 h, log-normal with σ 1.5",
            np.array([6.0, 24.0]),
            2 * _WEEK_S,
            looks=30,
            environment={"delay_spread": 1.5},
        ),
        _Setting(
            "turning", _TOP_TWO, "1 h and 24 h, from the middle on 24 h and 1 h", turning, _WEEK_S
        ),
        _Setting(
            "counts",
            _THOMPSON,
            "1 h and 24 h",
            day,
            _WEEK_S,
            kind="count",
            environment={"events": 2.0},
        ),
        _Setting(
            "revenue",
            _FIXED,
            "1 h and 24 h",
            day,
            _WEEK_S,
            kind="revenue",
            environment={"spread": 1.0},
        ),
        _Setting(
            "delayed",
            _THOMPSON,
            "1 h and 24 h",
            day,
            _WEEK_S,
            config={"periods": {"delayed": True}},
        ),
        _Setting("at-once", _FIXED, "none", np.zeros(2), 0, _BETTER[::-1], repetitions=100),
        _Setting(
            "slow-is-better", _FIXED, "1 h and 24 h", day, _WEEK_S, _BETTER[::-1], repetitions=100
        ),
        _Setting(
            "quick-is-better", _TOP_TWO, "1 h and 24 h", day, _WEEK_S, _BETTER, repetitions=100
        ),
    )


def _simulated(setting: _Setting, size: Size, progress: Progress) -> Result:
    rates = np.tile(setting.rates, (setting.looks, 1))
    environment = Environment(
        rates,
        setting.look_hours * _HOUR_MS,
        setting.units,
        delay_ms=setting.hours * _HOUR_MS,
        **setting.environment or {},
    )
    experiment = running(
        setting.policy,
        2,
        attributionWindow=0,
        conversionWindow=setting.window_s,
        metrics={METRIC: {"kind": setting.kind}},
        **setting.config or {},
    )
    best = int(np.argmax(setting.rates)) if len(set(setting.rates)) > 1 else -1
    right, wrong, looks = 0, 0, []
    for run in progress(range(size.repetitions)):
        look, winner = declared_in_drift(
            experiment, environment, np.random.default_rng((_SEED, run))
        )
        if winner is None:
            continue
        wrong += winner != best
        if winner == best:
            right += 1
            looks.append(look)
    measures: dict[str, Measure] = {"wrong": Proportion(wrong, size.repetitions)}
    if best >= 0:
        measures["right"] = Proportion(right, size.repetitions)
    if len(looks) > 1:
        days = np.array(looks) * setting.look_hours / _DAY_HOURS
        error = float(days.std(ddof=1)) / len(days) ** 0.5
        measures["days"] = Mean(float(days.mean()), error, len(days))
    return Result(size.repetitions, measures)
