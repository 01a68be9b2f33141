"""Experiments of every kind of metric, with late conversions and busy days, through production.

Values of one unit come together, and are added as the fold adds them, one unit after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.experiments.covariates import CovariateSpace
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.fold.cohorts import add_to_cohorts, counted
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.model.vectors import Vector
from streams.planning.simulation import NUMBER, simulate
from streams.stats.arrays import FloatArray
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance
from streams.tallies.merging import merge
from streams.tallies.plan import pair_of

COVARIATE = "before"
DAY_MS = 86_400_000
_STEP = 0.25  # resolution of covariates, in standard deviations
_MOMENTS = 8

Values = Mapping[str, NDArray[np.int64]]
Draw = Callable[[FloatArray, float, float, np.random.Generator], Values]


@dataclass(frozen=True, slots=True, eq=False)
class CombinedEnvironment:
    """Units of two or more variants, equal unless stated.

    Attributes:
        draw: Draws the values of units by metric, in micro-units, given their covariate (shape
            (n,), of mean 0 and deviation 1), how busy the day is, and the effect of the variant,
            both relative to 1. A unit has no value where all of its metrics are 0.
        units: Units of a day.
        days: Days, with a look at the end of each.
        busy: How much higher all rates are on Saturdays and Sundays, relative.
        delay_days: Mean days until a value comes, by variant; exponential.
        effects: What the rates of each variant are multiplied by, by day, of a shape that
            broadcasts to (days, n_variants).
    """

    draw: Draw
    units: int = 400
    days: int = 14
    busy: float = 0.5
    delay_days: tuple[float, ...] = (0.3, 0.3)
    effects: FloatArray | float = 1.0


def first_declared(
    experiment: Experiment,
    environment: CombinedEnvironment,
    generator: np.random.Generator,
    *,
    has_pairs: bool = True,
) -> tuple[int, int | None]:
    """Return the look at which a winner was first declared, from 1 on, and that winner.

    Args:
        experiment: A running experiment.
        environment: Its units.
        generator: Source of assignments, values and delays.
        has_pairs: Whether sums by pair of variants are kept: they are not of more variants than a
            receipt carries the weights of.

    Returns:
        (0, None) if none ever was.
    """
    source = UnitValues(experiment, environment, has_pairs=has_pairs)
    sizes = [environment.units] * environment.days
    for look, interval in enumerate(simulate(experiment, source, sizes, generator), 1):
        if interval.snapshot.winner is not None:
            return look, interval.snapshot.winner
    return 0, None


class UnitValues:
    """Values of the units of an environment, some of which are still to come."""

    def __init__(
        self, experiment: Experiment, environment: CombinedEnvironment, *, has_pairs: bool = True
    ) -> None:
        definition = experiment.definition
        config = definition.config
        plan = plan_of(definition)
        if not has_pairs:
            plan = replace(plan, n_variants=0)
        self._environment = environment
        self._space = CovariateSpace(config.covariates) if config.covariates else None
        self._windows = plan.windows
        self._bins = plan.bins
        self._pairs = [pair_of(*pair) for pair in plan.pairs]
        self._n_variants = len(definition.variants)
        self._assigned, self._observed = (
            CellBuilder(NUMBER, source, 0, plan=plan)
            for source in (Source.IMPRESSIONS, Source.OBSERVATIONS)
        )
        self._to_come: dict[int, list[tuple[int, int, Chance, Vector | None, dict[str, int]]]] = {}

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of a day, and the values that have come by its end."""
        packed = pack_weights(weights)
        environment = self._environment
        busy = 1.0 + environment.busy * (look % 7 >= 5)  # noqa: PLR2004 - Saturdays and Sundays
        effects = np.broadcast_to(environment.effects, (environment.days, self._n_variants))[look]
        for variant, n in enumerate(assigned.tolist()):
            chance = variant, max(1, weights[variant]) * PROPENSITY_PER_WEIGHT, packed
            self._assign(look, chance, n, busy, float(effects[variant]), generator)
        for each in self._to_come.pop(look, ()):
            self._observe(look, *each)
        cells = (each.freeze() or each.cell for each in (self._assigned, self._observed))
        return merge([cell for cell in cells if cell is not None])

    def _assign(
        self,
        look: int,
        chance: Chance,
        n: int,
        busy: float,
        effect: float,
        generator: np.random.Generator,
    ) -> None:
        known = _STEP * np.rint(generator.normal(size=n) / _STEP)
        moments = generator.integers(0, _MOMENTS, n)
        times_ms = (look * DAY_MS + moments * (DAY_MS // _MOMENTS)).tolist()
        vectors: list[Vector | None] = [None] * n
        if self._space is not None:
            vectors = [self._space.encode({COVARIATE: each}) for each in known.tolist()]
        contexts = counted((chance, each) for each in vectors if each is not None)
        first, last = look * DAY_MS, (look + 1) * DAY_MS - 1
        self._assigned.add_units(look, {chance: n}, first, last, contexts)
        for window_s in set(self._windows.values()):
            rows = zip([chance] * n, times_ms, vectors, strict=True)
            add_to_cohorts(self._assigned, window_s, rows)
        drawn = self._environment.draw(known, busy, effect, generator)
        delays_ms = generator.exponential(self._environment.delay_days[chance[0]] * DAY_MS, n)
        arrivals = (np.array(times_ms) + delays_ms.astype(np.int64)).tolist()
        rows_of = zip(*(each.tolist() for each in drawn.values()), strict=True)
        for values, at_ms, assigned_ms, vector in zip(
            rows_of, arrivals, times_ms, vectors, strict=True
        ):
            if any(values):
                unit = dict(zip(drawn, values, strict=True))
                self._to_come.setdefault(at_ms // DAY_MS, []).append(
                    (at_ms, assigned_ms, chance, vector, unit)
                )

    def _observe(
        self,
        look: int,
        at_ms: int,
        assigned_ms: int,
        chance: Chance,
        vector: Vector | None,
        values: Mapping[str, int],
    ) -> None:
        """Count the values of a unit as the fold does."""
        window_s = self._windows.get(next(iter(values)), 0)
        if window_s and at_ms - assigned_ms > 1000 * window_s:
            self._observed.add_late(look, at_ms)
            return
        self._observed.add_event(look, at_ms)
        counting = [self._observed.sums]
        if window_s:
            counting.append(self._observed.cohort(Cohort.of(window_s, assigned_ms)))
        for sums in counting:
            for metric, value in values.items():
                sums.add_value((*chance, metric), None, value, vector)
                if metric in self._bins:
                    sums.add_binned((*chance, metric), None, value, self._bins[metric])
            for pair in self._pairs:
                x, y = (values[metric] for metric in pair)
                sums.add_product((*chance, pair), (x * y, x * x * y, x * y * y))


def micro(values: FloatArray | NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return values in micro-units."""
    found: NDArray[np.int64] = np.rint(float(MICRO) * values).astype(np.int64)
    return found
