"""Equal variants by the values of dimensions."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.calibration.errors import slug
from benchmarks.calibration.results import Claim, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.production import running
from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.slices import SlicedLook, SlicedUnits, simulate_slices

_SEED = 2026_51
_REPETITIONS = 300
_Z = 1.96
_VALUES = [f"v{number}" for number in range(5)]
_DIMENSIONS = [{"name": name, "values": _VALUES} for name in ("device", "features.plan")]
_SHARES = (0.05, 0.35, 0.25, 0.15, 0.1, 0.1)
_RATES = np.array([0.1, 0.2, 0.05, 0.1, 0.3, 0.02])
_LIFTED = np.array([1.0, 1.5, 1.0, 1.0, 1.0, 1.0])

EQUAL = SlicedUnits(_SHARES, np.column_stack([_RATES, _RATES]), 1_000, 10)
BETTER_IN_ONE = SlicedUnits(_SHARES, np.column_stack([_LIFTED * _RATES, _RATES]), 1_000, 10)


def slices() -> Section:
    """Return equal variants by two dimensions, and one that is better at one value alone."""
    return Section(
        "slices",
        "Breakdown by dimension",
        "Two variants through the tallies and `evaluate()` of production, by two dimensions of "
        "five values and the others, whose conversion rates go from 2 % to 30 %: 1,000 units "
        "between two of 10 looks. With equal variants, at most 5 % of the experiments may ever "
        "show any value of any dimension as different; beside it, how often one of the six "
        "values of the first dimension alone is 1.96 standard errors from equal at one of the "
        "looks. In the last row the first variant converts half as often again at the value "
        "that a third of the units have, and nowhere else.",
        {
            "different": "a slice ever different",
            "alarm": "ever a sample ratio alarm in a slice",
            "naive": "a value of one dimension ever at 1.96 standard errors",
        },
        (
            *(
                Row(
                    slug(policy),
                    {"policy": f"`{policy}`", "variants": "equal"},
                    partial(_judged, policy, EQUAL),
                    _REPETITIONS,
                    0,
                    (
                        Claim("different", at_most=0.05),
                        Claim("alarm", at_most=0.02),
                        Claim("naive", at_least=0.3),
                    ),
                )
                for policy in ("bayesian_ab", "thompson_sampling")
            ),
            Row(
                "better-in-one",
                {"policy": "`bayesian_ab`", "variants": "better at one value"},
                partial(_judged, "bayesian_ab", BETTER_IN_ONE),
                _REPETITIONS,
                0,
                (Claim("different", at_least=0.8), Claim("alarm", at_most=0.02)),
            ),
        ),
    )


def _judged(policy: str, sliced: SlicedUnits, size: Size, progress: Progress) -> Result:
    experiment = running(policy, 2, dimensions=_DIMENSIONS)
    names = ("different", "alarm", "naive")
    found = dict.fromkeys(names, 0)
    for run in progress(range(size.repetitions)):
        is_different = is_alarmed = is_naive = False
        for look in simulate_slices(experiment, sliced, np.random.default_rng((_SEED, run))):
            values = [value for each in look.snapshot.dimensions for value in each.values]
            is_different |= any(
                metric.against_control is not None and metric.against_control.is_different
                for value in values
                for variant in value.variants
                for metric in variant.metrics.values()
            )
            is_alarmed |= any(value.sample_ratio.is_mismatch for value in values)
            is_naive |= _is_naively_different(look)
        for name, was in zip(names, (is_different, is_alarmed, is_naive), strict=True):
            found[name] += was
    return Result(
        size.repetitions, {name: Proportion(found[name], size.repetitions) for name in names}
    )


def _is_naively_different(look: SlicedLook) -> bool:
    """Return whether a two-sample z test rejects at any value of the first dimension."""
    units = np.maximum(look.units, 1)
    rates = look.converted / units
    variance = (rates * (1.0 - rates) / units).sum(axis=1)
    far = np.abs(rates[:, 0] - rates[:, 1]) > _Z * np.sqrt(variance)
    return bool((far & (variance > 0.0)).any())
