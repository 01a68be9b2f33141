"""Equal variants of which one is added and one is stopped while the base rate drifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.changing_variants import Change, Course, simulate_changes
from benchmarks.simulation.production import METRIC, running
from benchmarks.simulation.proportion import Proportion
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.events import CommandKind
from streams.policies.arm_posteriors import best_of_arms
from streams.policies.base import Arm
from streams.stats.arrays import FloatArray

_SEED = 2026_48
_REPETITIONS = 150
_CERTAIN = 0.95
_ERROR = 0.05
_LOOKS = 36
_UNITS = 600
_PERIOD = 4  # looks of each variant of a succession
_SUCCESSION = _LOOKS // _PERIOD
_VARIANTS = 1 + _SUCCESSION


def _add(name: str) -> Change:
    return CommandKind.ADD_VARIANT, {"name": name}


def _stop(variant: str) -> Change:
    return CommandKind.CHANGE_VARIANT, {"variant": variant, "isActive": False}


def _reactivate(variant: str) -> Change:
    return CommandKind.CHANGE_VARIANT, {"variant": variant, "isActive": True}


def _drifting(look: int) -> FloatArray:
    """Return rates that double from the beginning to the end, and again every tenth look."""
    level = 0.05 * (1.0 + look / _LOOKS) * (2.0 if look % 10 >= 8 else 1.0)  # noqa: PLR2004
    return np.full(_VARIANTS, level)


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    policy: str
    n_variants: int
    what: str
    changes: Mapping[int, tuple[Change, ...]]
    config: Mapping[str, Any] = field(default_factory=dict)


_ONCE = {12: (_add("new"),), 24: (_stop("variant 0"),)}
_ROTATION = {
    7: (_add("second"),),
    14: (_stop("variant 0"), _add("third")),
    21: (_stop("second"), _add("fourth")),
    28: (_stop("third"), _reactivate("variant 0")),
}
_SUCCESSIVE = {
    _PERIOD * number: (
        _add(f"number {number}"),
        _stop(f"number {number - 1}" if number > 1 else "variant 0"),
    )
    for number in range(1, _SUCCESSION)
}
_PLAN = {"plan": {"baseline": 0.09, "lift": 0.3, "units": _PERIOD * _UNITS // 2}}
_SETTINGS = (
    *(
        _Setting(
            f"{slug(policy)}-{n_variants}",
            policy,
            n_variants,
            "one added at a third, one stopped at two thirds",
            _ONCE,
        )
        for policy in ("bayesian_ab", "thompson_sampling")
        for n_variants in (2, 3)
    ),
    *(
        _Setting(
            f"{slug(policy)}-rotation",
            policy,
            2,
            "three added one after the other, the one before stopped, the first reactivated",
            _ROTATION,
        )
        for policy in ("bayesian_ab", "thompson_sampling")
    ),
    *(
        _Setting(
            f"succession{name}",
            "bayesian_ab",
            2,
            f"one after the other, {_SUCCESSION} in all, each stopped after {_PERIOD} looks{text}",
            _SUCCESSIVE,
            config,
        )
        for name, text, config in (("", "", {}), ("-planned", ", with a plan", _PLAN))
    ),
)


def variants() -> Section:
    """Return equal variants that are added and stopped while the base rate drifts."""
    return Section(
        "variants",
        "Variants that are added and stopped",
        "Equal variants through the commands, draws, tallies and `evaluate()` of production, of "
        f"{_UNITS} units between two of {_LOOKS} looks. The conversion rate rises from 5 % to 10 % "
        "and doubles for two looks of ten, so a variant that is added has better times than those "
        "before it. At most 5 % may ever declare a winner, or show a variant with a `pValue` of at "
        "most that against the control, or two variants different: by an always-valid p-value of "
        "at most that over all pairs. Beside it, P(best) by the plain counts of all units.",
        {
            "winner": "ever a winner",
            "apart": "`pValue` ever <= 5 %",
            "different": "ever declared different",
            "alarm": "ever a sample ratio alarm",
            "certain": "P(best) > 95 % in the end",
            "naive_certain": "P(best) > 95 %, plain counts",
        },
        tuple(
            Row(
                each.name,
                {"policy": f"`{each.policy}`", "variants": f"{each.n_variants}: {each.what}"},
                partial(_judged, each),
                _REPETITIONS,
                0,
                (
                    Claim("winner", at_most=0.05),
                    # Over all pairs there ever were, a succession has no error in common.
                    Claim("apart" if each.changes is _SUCCESSIVE else "different", at_most=0.05),
                    Claim("alarm", at_most=0.02),
                ),
            )
            for each in _SETTINGS
        ),
    )


def _experiment(setting: _Setting) -> Experiment:
    return running(setting.policy, setting.n_variants, minSampleSize=100, **setting.config)


def _judged(setting: _Setting, size: Size, progress: Progress) -> Result:
    experiment = _experiment(setting)
    course = Course(_drifting, _UNITS, _LOOKS, setting.changes)
    names = ("winner", "apart", "different", "alarm", "certain", "naive_certain")
    found = dict.fromkeys(names, 0)
    for run in progress(range(size.repetitions)):
        seen = dict.fromkeys(names, False)
        for snapshot in simulate_changes(experiment, course, np.random.default_rng((_SEED, run))):
            evidence = snapshot.evidence
            assert evidence is not None  # noqa: S101 - it was evaluated
            seen["winner"] |= snapshot.winner is not None
            seen["apart"] |= _least_p_value(snapshot) <= _ERROR
            n_variants = len(snapshot.variants)
            error = 2.0 * _ERROR / (n_variants * (n_variants - 1))
            seen["different"] |= any(each.p_value <= error for each in evidence.comparisons)
            seen["alarm"] |= evidence.sample_ratio.is_mismatch
            seen["certain"] = evidence.probability_best > _CERTAIN
            seen["naive_certain"] = _naive(snapshot) > _CERTAIN
        for name in names:
            found[name] += seen[name]
    return Result(
        size.repetitions,
        {name: Proportion(found[name], size.repetitions) for name in names},
    )


def _least_p_value(snapshot: Snapshot) -> float:
    """Return the least corrected p-value of an active variant against the control."""
    active = snapshot.experiment.definition.active
    against = (snapshot.variants[index].metrics.get(METRIC) for index in active)
    found = (each.against_control for each in against if each is not None)
    return min((each.p_value for each in found if each is not None), default=1.0)


def _naive(snapshot: Snapshot) -> float:
    """Return the largest P(best) of the active variants by all of their units."""
    arms = []
    for index in snapshot.experiment.definition.active:
        report = snapshot.variants[index]
        arms.append(Arm(report.assignments, float(report.observations), 0.0, True, 0.5))
    return float(best_of_arms(tuple(arms)).probability.max())
