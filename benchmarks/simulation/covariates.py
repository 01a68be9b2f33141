"""Experiments with a covariate, simulated through the code of production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.experiments.lifecycle import Experiment
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.vectors import FEATURE_ONE
from streams.planning.simulation import running_experiment, simulate
from streams.stats.arrays import FloatArray
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted

METRIC = "spend"

_RANGE = 8.0  # standard deviations on either side


@dataclass(frozen=True, slots=True)
class CovariateWorld:
    """Units with a covariate and a value, both of variance 1.

    Attributes:
        correlation: Correlation of the two within a variant, in [-1, 1].
        lead: Mean of the first variant above that of the others.
        missing: Share of the units without the covariate, in [0, 1]; of these it would be lower by
            two standard deviations.
        swing: Amplitude by which all values rise and fall, twice within the experiment.
        units: Units between two looks.
        looks: Number of looks.
    """

    correlation: float
    lead: float = 0.0
    missing: float = 0.0
    swing: float = 0.0
    units: int = 400
    looks: int = 60


def experiment_of(policy: str, n_variants: int = 2, *, has_covariate: bool) -> Experiment:
    """Return an experiment on the values, with the covariate or without it."""
    config: dict[str, Any] = {
        "name": "covariates",
        "type": policy,
        "primaryMetric": METRIC,
        "metrics": {METRIC: {"kind": "continuous"}},
    }
    if has_covariate:
        config["covariates"] = [{"name": "before", "minimum": -_RANGE, "maximum": _RANGE}]
    return running_experiment(config, n_variants, control=n_variants - 1)


def named_at(
    experiment: Experiment, world: CovariateWorld, generator: np.random.Generator
) -> tuple[int, int]:
    """Return the look at which a variant was first declared the winner, and that variant.

    Returns:
        (0, -1) if none was.
    """
    source = _Values(world, len(experiment.definition.variants))
    intervals = simulate(experiment, source, repeat(world.units, world.looks), generator)
    for look, interval in enumerate(intervals, 1):
        if interval.snapshot.winner is not None:
            return look, interval.snapshot.winner
    return 0, -1


class _Values:
    """Values of a world, summed as the fold sums them."""

    def __init__(self, world: CovariateWorld, n_variants: int) -> None:
        self._world = world
        self._tallies = [VariantTally()] * n_variants

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of the interval with their values."""
        for variant, (n, weight) in enumerate(zip(assigned.tolist(), weights, strict=True)):
            vectors, values = self._drawn(look, variant, n, generator)
            metric = _metric(vectors, values)
            propensity = max(1, weight) * PROPENSITY_PER_WEIGHT
            new = weighted(n, {METRIC: metric}, propensity)
            new = replace(new, gram=_upper_triangle(vectors.T @ vectors))
            self._tallies[variant] += new
        return Tally(1, look + 1, variants=dict(enumerate(self._tallies)))

    def _drawn(
        self, look: int, variant: int, n: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return vectors in 1 / FEATURE_ONE and values in micro-units."""
        world = self._world
        before = generator.normal(size=n)
        noise = generator.normal(size=n) * (1.0 - world.correlation**2) ** 0.5
        base = 10.0 + world.swing * np.sin(4.0 * np.pi * look / world.looks)
        is_missing = generator.random(n) < world.missing
        values: FloatArray = base + world.correlation * before + noise
        values += np.where(is_missing, -2.0, 0.0) + (world.lead if variant == 0 else 0.0)
        entries = (FEATURE_ONE * np.clip(before / _RANGE, -1.0, 1.0)).round()
        columns = np.ones(n) * FEATURE_ONE, entries * ~is_missing, FEATURE_ONE * is_missing
        vectors = np.column_stack(columns).astype(np.int64)
        return vectors, (values * MICRO).round().astype(np.int64)


def _metric(vectors: NDArray[np.int64], values: NDArray[np.int64]) -> MetricTally:
    each = values.tolist()
    return MetricTally(
        units=len(each),
        observations=len(each),
        total=sum(each),
        total_squared=sum(value * value for value in each),
        total_cubed=sum(value**3 for value in each),
        positive_units=int((values > 0).sum()),
        moment=tuple((vectors.T @ values).tolist()),
    )


def _upper_triangle(matrix: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the entries of a `LinearTally.gram`."""
    return tuple(
        int(matrix[row, column]) for column in range(len(matrix)) for row in range(column + 1)
    )
