"""Truth of the reports: P(best) and lifts under moving weights, and the lift of a winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.context import Contexts, simulate_contexts
from benchmarks.simulation.drift import DriftRun, Environment, simulate_drift
from benchmarks.simulation.production import METRIC, running, simulate_snapshots
from benchmarks.simulation.proportion import Proportion
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.variant_report import AgainstControl
from streams.planning.simulation import running_experiment
from streams.stats.arrays import FloatArray

_SEED = 2026_31
_SURE = 0.95
_DAYS = 14
_LOOKS_A_DAY = 6
_LOOK_MS = 4 * 3_600_000
_UNITS = 500
_WEEKDAYS = 5
_NAMING_LOOKS = 60
_FEW_UNITS = 200
_MANY_UNITS = 1_500
_DRIFT_LOOKS = 20


def reports() -> Section:
    """Return the environments in which pooled counts are biased."""
    return Section(
        "reports",
        "Truth of the reports",
        f"What `stats` says beside the decision, through `evaluate()` of production. *Drift*: "
        f"{_DAYS} days, {_LOOKS_A_DAY} evaluations a day with {_UNITS} units each. *Sure* is the "
        "share of experiments on whose last day P(best) of some variant exceeds 95 %: with equal "
        "arms and even weights it would be 10 % of two and 15 % of three variants. *Biased* is the "
        "share of evenings on which that of the worse variant does, *declared* the experiments "
        "that declared the better one. *Context*: requests of several kinds that convert at unlike "
        "rates, under contextual policies; the interval of the lift is to cover that over all "
        "requests. *Declaring*: which intervals of the lift cover the true one at the look that "
        "declares a winner, of 60 up to 30,000 units. *Lifts*: whether the sequence of the lift "
        "covers at all of 60 "
        "looks, every 200 units, or of 20, every 1,500, and whether the ends of the difference "
        "over the reported mean of the control would.",
        {
            "sure": "sure",
            "misled": "biased",
            "named": "declared",
            "lost": "conversions lost",
            "covers": "95 % interval of the lift covers",
            "sequence": "sequence covers",
            "always": "sequence of the lift always covers",
            "plainly": "difference over the control always covers",
        },
        (*_drift(), *_contexts(), *_naming(), *_lifts()),
    )


@dataclass(frozen=True, slots=True)
class _Drift:
    name: str
    text: str
    shape: FloatArray
    policy: str = "thompson_sampling"
    lifts: tuple[float, ...] = (0.0,)
    config: Mapping[str, Any] | None = None
    repetitions: int = 100

    @property
    def environment(self) -> Environment:
        arms = 1.0 + np.array([*self.lifts, 0.0])
        return Environment(0.05 * self.shape[:, None] * arms, _LOOK_MS, _UNITS)


def _drift() -> tuple[Row, ...]:
    look = np.arange(_DAYS * _LOOKS_A_DAY)
    weekends = np.where(look // _LOOKS_A_DAY % 7 >= _WEEKDAYS, 2.0, 1.0)
    nights = np.where(look % _LOOKS_A_DAY < _LOOKS_A_DAY // 2, 1.0, 2.0)
    trend = np.linspace(1.0, 3.0, len(look))
    text = "twice as many at week-ends"
    sure = (Claim("sure", at_most=0.10),)
    settings = (
        (_Drift("thompson-weekends", text, weekends, repetitions=200), sure),
        (_Drift("top-two-weekends", text, weekends, "top_two_thompson"), sure),
        (_Drift("thompson-nights", "half as many by night", nights), sure),
        (_Drift("thompson-trend", "three times as many in the end", trend), sure),
        (
            _Drift("thompson-three", text, weekends, lifts=(0.0, 0.0)),
            (Claim("sure", at_most=0.15),),
        ),
        (
            _Drift("thompson-better", text, weekends, lifts=(0.05,)),
            (Claim("misled", at_most=0.03),),
        ),
        (
            _Drift("stratified-better", text, weekends, lifts=(0.05,), config=_STRATIFIED),
            (),
        ),
        (_Drift("thompson-much", text, weekends, lifts=(0.2,)), ()),
        (_Drift("stratified-much", text, weekends, lifts=(0.2,), config=_STRATIFIED), ()),
    )
    return tuple(
        Row(
            each.name,
            {
                "environment": f"drift: {each.text}",
                "policy": f"`{each.policy}`" + (", `stratified`" if each.config else ""),
                "truth": ", ".join(f"{lift:+.0%}".replace("%", " %") for lift in each.lifts),
            },
            partial(_in_drift, each),
            each.repetitions,
            0,
            claims,
        )
        for each, claims in settings
    )


_STRATIFIED = {"periods": {"stratified": True}}


def _in_drift(setting: _Drift, size: Size, progress: Progress) -> Result:
    environment = setting.environment
    runs: list[DriftRun] = []
    for run in progress(range(size.repetitions)):
        experiment = running(setting.policy, len(setting.lifts) + 1, **(setting.config or {}))
        generator = np.random.default_rng((_SEED, run))
        runs.append(simulate_drift(experiment, environment, generator))
    n = len(runs)
    last = [run.snapshots[-1] for run in runs]
    evenings = [each for run in runs for each in run.snapshots[_LOOKS_A_DAY - 1 :: _LOOKS_A_DAY]]
    winners = [{each.winner for each in run.snapshots} - {None} for run in runs]
    covers = [_covers(each, 0, setting.lifts[0]) for each in last]
    lost = np.array([run.lost.sum() for run in runs])
    misled = [each.variants[-1].probability_best > _SURE for each in evenings]
    measures = {
        "sure": Proportion(sum(_largest(each) > _SURE for each in last), n),
        "named": Proportion(sum(each == {0} for each in winners), n),
        "covers": Proportion(sum(covers), n),
    }
    if any(setting.lifts):
        # Evenings of one experiment hang together: their share has the error of its mean.
        shares = np.array(misled, dtype=np.float64).reshape(n, -1).mean(axis=1)
        return Result(n, measures | {"misled": _mean(shares), "lost": _mean(lost)})
    return Result(n, measures)


def _contexts() -> tuple[Row, ...]:
    two = np.array([[0.30, 0.10], [0.10, 0.27]])
    three = np.array([[0.10, 0.08], [0.30, 0.27], [0.50, 0.55]])
    steady, coming = np.tile([0.5, 0.5], (20, 1)), np.linspace([0.8, 0.2], [0.2, 0.8], 20)
    environments = (
        ("two", "two kinds", steady, two),
        ("three", "three kinds", np.tile([0.6, 0.3, 0.1], (20, 1)), three),
        ("moving", "two kinds, whose shares move", coming, two),
    )
    return tuple(
        Row(
            f"{policy}-{name}".replace("_", "-"),
            {
                "environment": f"context: {text}",
                "policy": f"`{policy}`",
                "truth": _lift_of(shares, rates),
            },
            partial(_in_context, policy, shares, rates),
            150,
            0,
            (Claim("covers", at_least=0.95),),
        )
        for policy in ("lin_ts", "lin_ucb")
        for name, text, shares, rates in environments
    )


def _lift_of(shares: FloatArray, rates: FloatArray) -> str:
    means = shares.mean(axis=0) @ rates
    return f"{means[0] / means[1] - 1.0:+.0%}".replace("%", " %")


def _in_context(
    policy: str, shares: FloatArray, rates: FloatArray, size: Size, progress: Progress
) -> Result:
    kinds = tuple("abc"[: len(rates)])
    contexts = Contexts("kind", kinds, shares, rates, 1_000)
    feature = {"name": "kind", "type": "category", "values": list(kinds)}
    config = {
        "name": "reports",
        "type": policy,
        "primaryMetric": METRIC,
        "parameters": {"features": [feature]},
    }
    experiment = running_experiment(config, 2, control=1)
    truth = float(contexts.means[0] / contexts.means[1] - 1.0)
    covers = 0
    for run in progress(range(size.repetitions)):
        generator = np.random.default_rng((_SEED, run))
        covers += _covers(simulate_contexts(experiment, contexts, generator), 0, truth)
    return Result(size.repetitions, {"covers": Proportion(covers, size.repetitions)})


def _naming() -> tuple[Row, ...]:
    settings = (("even", "bayesian_ab"), ("thompson", "thompson_sampling"))
    return tuple(
        Row(
            f"naming-{name}",
            {
                "environment": "declaring: 11 % against 10 %",
                "policy": f"`{policy}`",
                "truth": "+10 %",
            },
            partial(_at_naming, policy),
            200,
            0,
            (Claim("sequence", at_least=0.95),),
        )
        for name, policy in settings
    )


@dataclass(frozen=True, slots=True)
class _Lifted:
    """A lift over a control whose rate may move.

    Attributes:
        name, text: Name of the row, and the environment in words.
        base: Rate of the control by look.
        lift: Lift of the other variant.
        policy: Key of `POLICIES`.
        config: More of the configuration.
        units: Units between two looks.
    """

    name: str
    text: str
    base: FloatArray
    lift: float
    policy: str = "bayesian_ab"
    config: Mapping[str, Any] | None = None
    units: int = _FEW_UNITS

    @property
    def environment(self) -> Environment:
        rates = self.base[:, None] * np.array([1.0 + self.lift, 1.0])
        return Environment(rates, _LOOK_MS, self.units)


def _lifts() -> tuple[Row, ...]:
    steady = np.full(_NAMING_LOOKS, 0.05)
    rise, fall = np.linspace(0.05, 0.2, _DRIFT_LOOKS), np.linspace(0.2, 0.05, _DRIFT_LOOKS)
    settings = (
        _Lifted("even", "15 % against 5 %", steady, 2.0),
        _Lifted("thompson", "15 % against 5 %", steady, 2.0, "thompson_sampling"),
        _Lifted(
            "half-life",
            "rates that rise from 5 % to 20 %, with a half-life of 12 h",
            rise,
            0.5,
            config={"periods": {"halfLife": 43_200}},
            units=_MANY_UNITS,
        ),
        _Lifted(
            "thompson-fall",
            "rates that fall from 20 % to 5 %",
            fall,
            0.5,
            "thompson_sampling",
            units=_MANY_UNITS,
        ),
        _Lifted(
            "prior",
            "3 % against 2 %, and a prior of 20 in 100",
            np.full(_DRIFT_LOOKS, 0.02),
            0.5,
            config={"parameters": {"priorAlpha": 20, "priorBeta": 80}},
            units=_MANY_UNITS,
        ),
    )
    return tuple(
        Row(
            f"lifts-{each.name}",
            {
                "environment": f"lifts: {each.text}",
                "policy": f"`{each.policy}`",
                "truth": f"{each.lift:+.0%}".replace("%", " %"),
            },
            partial(_at_every_look, each),
            200,
            0,
            (Claim("always", at_least=0.95),),
        )
        for each in settings
    )


def _at_naming(policy: str, size: Size, progress: Progress) -> Result:
    experiment, rates = running(policy, 2), (0.11, 0.10)
    truth = rates[0] / rates[1] - 1.0
    declared, credible, sequence = 0, 0, 0
    for run in progress(range(size.repetitions)):
        generator = np.random.default_rng((_SEED, run))
        for snapshot in simulate_snapshots(experiment, rates, _NAMING_LOOKS, _UNITS, generator):
            if snapshot.winner is None:
                continue
            declared += 1
            credible += _covers(snapshot, 0, truth)
            sequence += _sequence_covers(snapshot, 0, truth)
            break
    return Result(
        size.repetitions,
        {
            "named": Proportion(declared, size.repetitions),
            "covers": Proportion(credible, max(declared, 1)),
            "sequence": Proportion(sequence, max(declared, 1)),
        },
    )


def _at_every_look(setting: _Lifted, size: Size, progress: Progress) -> Result:
    experiment = running(setting.policy, 2, **(setting.config or {}))
    always, plainly = 0, 0
    for run in progress(range(size.repetitions)):
        generator = np.random.default_rng((_SEED, run))
        snapshots = simulate_drift(experiment, setting.environment, generator).snapshots
        found = [
            (
                _sequence_covers(each, 0, setting.lift),
                _difference_over_control_covers(each, 0, setting.lift),
            )
            for each in snapshots
        ]
        always += all(covers for covers, _ in found)
        plainly += all(covers for _, covers in found)
    return Result(
        size.repetitions,
        {
            "always": Proportion(always, size.repetitions),
            "plainly": Proportion(plainly, size.repetitions),
        },
    )


def _sequence_covers(snapshot: Snapshot, variant: int, lift: float) -> bool:
    against = _against(snapshot, variant)
    return against is not None and _is_between(
        lift, against.relative_sequence_lower, against.relative_sequence_upper
    )


def _difference_over_control_covers(snapshot: Snapshot, variant: int, lift: float) -> bool:
    """Return whether the ends of the difference would, over the control's mean."""
    against, control = _against(snapshot, variant), snapshot.variants[-1].metrics[METRIC]
    if against is None or control.mean is None:
        return False
    return _is_between(lift * control.mean, against.sequence_lower, against.sequence_upper)


def _covers(snapshot: Snapshot, variant: int, lift: float) -> bool:
    against = _against(snapshot, variant)
    return against is not None and _is_between(lift, against.relative_lower, against.relative_upper)


def _is_between(value: float, lower: float | None, upper: float | None) -> bool:
    """Return whether a value is between ends, of which one that is unknown excludes nothing."""
    return (lower is None or lower <= value) and (upper is None or value <= upper)


def _against(snapshot: Snapshot, variant: int) -> AgainstControl | None:
    return snapshot.variants[variant].metrics[METRIC].against_control


def _largest(snapshot: Snapshot) -> float:
    return max(each.probability_best for each in snapshot.variants)


def _mean(values: FloatArray) -> Mean:
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return Mean(float(values.mean()), error, len(values))
