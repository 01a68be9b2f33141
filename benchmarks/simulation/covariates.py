"""Experiments with a covariate, simulated through the code of production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.model.vectors import FEATURE_ONE
from streams.planning.simulation import running_experiment, simulate
from streams.stats.arrays import FloatArray
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted

METRIC = "spend"

_RANGE = 8.0  # standard deviations on either side
_HEAVY = 0.7  # share of the units of one variant from which on its traffic is heavy


class Shape(StrEnum):
    """Distribution of a variable of mean 0 and variance 1."""

    NORMAL = "normal"
    """Standard normal."""
    LIGHT = "light"
    """Log-normal with the parameter 0.5."""
    HEAVY = "heavy"
    """Log-normal with the parameter 1.5."""

    def drawn(self, n: int, generator: np.random.Generator) -> FloatArray:
        """Return `n` draws."""
        normal = generator.normal(size=n)
        if self is Shape.NORMAL:
            return normal
        sigma = 0.5 if self is Shape.LIGHT else 1.5
        spread = np.exp(sigma * sigma)
        found: FloatArray = (np.exp(sigma * normal) - spread**0.5) / (spread * (spread - 1)) ** 0.5
        return found


@dataclass(frozen=True, slots=True)
class Turns:
    """Weights that are even at first, then of the first variant, and at last of the last one.

    Whatever is seen: what holds for every policy holds for this one.

    Attributes:
        at: Share of the looks from which on they are uneven; half of the others are of either turn.
        least: Share of each other variant from then on.
    """

    at: float
    least: float

    def weights(self, look: int, looks: int, n_variants: int) -> tuple[int, ...]:
        """Return the integer weights of an interval."""
        first = self.at * looks
        if look < first:
            found = [ALLOCATION_TOTAL // n_variants] * n_variants
        else:
            found = [round(ALLOCATION_TOTAL * self.least)] * n_variants
        leader = 0 if look < (first + looks) / 2.0 else n_variants - 1
        found[leader] += ALLOCATION_TOTAL - sum(found)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class CovariateEnvironment:
    """Units with a covariate and a value, both of variance 1 within a variant and a look.

    Attributes:
        correlation: Correlation of the two within a variant, in [-1, 1].
        lead: Mean of the first variant above that of the others.
        missing: Share of the units without the covariate, in [0, 1]; of these the value is lower by
            two standard deviations.
        swing: Amplitude by which all values rise and fall, twice within the experiment.
        units: Units between two looks.
        looks: Number of looks.
        last_correlation: Correlation at the last look, from the first on in a straight line; None
            if it stays.
        sent_from: Share of the looks before which the covariate is missing.
        drift: Amplitude by which the mean of the covariate rises and falls with the values.
        is_missing_when_heavy: Whether it is missing while a variant has most of the traffic.
        covariate, rest: Shape of the covariate, and of what it does not explain; of the latter one
            for each variant, the last one for all further ones.
        turns: How the weights move, if they do not follow the policy.
    """

    correlation: float
    lead: float = 0.0
    missing: float = 0.0
    swing: float = 0.0
    units: int = 1_200
    looks: int = 20
    last_correlation: float | None = None
    sent_from: float = 0.0
    drift: float = 0.0
    is_missing_when_heavy: bool = False
    covariate: Shape = Shape.NORMAL
    rest: tuple[Shape, ...] = (Shape.NORMAL,)
    turns: Turns | None = None

    def correlation_at(self, look: int) -> float:
        """Return the correlation in an interval."""
        if self.last_correlation is None:
            return self.correlation
        return float(np.interp(look, (0, self.looks), (self.correlation, self.last_correlation)))


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


def declared_at(
    experiment: Experiment, environment: CovariateEnvironment, generator: np.random.Generator
) -> tuple[int, int]:
    """Return the look at which a variant was first declared the winner, and that variant.

    Returns:
        (0, -1) if none was.
    """
    for look, snapshot in enumerate(_snapshots(experiment, environment, generator), 1):
        if snapshot.winner is not None:
            return look, snapshot.winner
    return 0, -1


def differs_at(
    experiment: Experiment, environment: CovariateEnvironment, generator: np.random.Generator
) -> int:
    """Return the look at which two variants were first declared different; 0 if none were."""
    for look, snapshot in enumerate(_snapshots(experiment, environment, generator), 1):
        if snapshot.evidence is not None and any(
            (each.lower or 0.0) > 0.0 or (each.upper or 0.0) < 0.0
            for each in snapshot.evidence.comparisons
        ):
            return look
    return 0


def _snapshots(
    experiment: Experiment, environment: CovariateEnvironment, generator: np.random.Generator
) -> Iterator[Snapshot]:
    """Yield the evaluations of a run."""
    source = _Values(environment, experiment)
    if environment.turns is None:
        intervals = simulate(
            experiment, source, repeat(environment.units, environment.looks), generator
        )
        yield from (interval.snapshot for interval in intervals)
        return
    for look in range(environment.looks):
        weights = environment.turns.weights(
            look, environment.looks, len(experiment.definition.variants)
        )
        assigned = generator.multinomial(environment.units, np.array(weights) / ALLOCATION_TOTAL)
        yield evaluate(experiment, source.tally_after(look, assigned, weights, generator), ())


class _Values:
    """Values of an environment, summed as the fold sums them."""

    def __init__(self, environment: CovariateEnvironment, experiment: Experiment) -> None:
        self._environment = environment
        self._tallies = [VariantTally()] * len(experiment.definition.variants)

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of the interval with their values."""
        packed, n_variants = pack_weights(weights), len(self._tallies)
        is_heavy = max(weights) > _HEAVY * ALLOCATION_TOTAL
        for variant, (n, weight) in enumerate(zip(assigned.tolist(), weights, strict=True)):
            vectors, values = self._drawn(look, variant, n, generator, is_heavy=is_heavy)
            propensity = max(1, weight) * PROPENSITY_PER_WEIGHT
            new = weighted(
                n,
                {METRIC: _metric(vectors, values)},
                propensity,
                variant=variant,
                weights=packed,
                n_variants=n_variants,
                gram=_upper_triangle(vectors.T @ vectors),
            )
            self._tallies[variant] += new
        return Tally(1, look + 1, variants=dict(enumerate(self._tallies)))

    def _drawn(
        self,
        look: int,
        variant: int,
        n: int,
        generator: np.random.Generator,
        *,
        is_heavy: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return vectors in 1 / FEATURE_ONE and values in micro-units."""
        environment = self._environment
        correlation = environment.correlation_at(look)
        phase = float(np.sin(4.0 * np.pi * look / environment.looks))
        before = environment.covariate.drawn(n, generator) + environment.drift * phase
        rest = environment.rest[min(variant, len(environment.rest) - 1)].drawn(n, generator)
        is_missing = generator.random(n) < environment.missing
        values: FloatArray = 10.0 + environment.swing * phase + correlation * before
        values += (1.0 - correlation**2) ** 0.5 * rest
        values += np.where(is_missing, -2.0, 0.0) + (environment.lead if variant == 0 else 0.0)
        if look < environment.sent_from * environment.looks or (
            environment.is_missing_when_heavy and is_heavy
        ):
            is_missing = np.ones(n, dtype=np.bool_)
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
