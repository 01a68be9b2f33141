"""Experiments under non-stationarity, simulated through the code of production.

Rates move, and conversions are delayed: what a policy loses by that, and what the statistics say,
with all units alike and with time weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.production import METRIC, Cells
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.planning.simulation import simulate
from streams.stats.arrays import FloatArray
from streams.tallies.cell import Tally
from streams.tallies.periods import tick_of

_MOMENTS = 4
"""Units of an interval are assigned at so many moments, evenly spread."""


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """Conversion rates over time, and the delay of conversions.

    Attributes:
        rates: Conversion rate of a unit, by interval between two looks and by variant, each in
            [0, 1]; shape (n_looks, n_variants).
        interval_ms: Time between two looks, > 0.
        units: Units of an interval, >= 1.
        delay_ms: Mean of the exponential time until a conversion; 0 for at once.
    """

    rates: FloatArray
    interval_ms: int
    units: int
    delay_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.rates.ndim != 2 or not np.all((self.rates >= 0.0) & (self.rates <= 1.0)):  # noqa: PLR2004
            raise InvalidParameterError("rates", self.rates.tolist(), "a table within [0, 1]")
        if self.interval_ms < _MOMENTS:
            raise InvalidParameterError("interval_ms", self.interval_ms, f">= {_MOMENTS}")


@dataclass(frozen=True, slots=True, eq=False)
class DriftRun:
    """One experiment, look by look.

    Attributes:
        lost: Expected conversions that the best variant of each interval would have had beyond
            those assigned; shape (n_looks,).
        snapshots: Evaluation at the end of each interval.
    """

    lost: FloatArray
    snapshots: tuple[Snapshot, ...]


def simulate_drift(
    experiment: Experiment, environment: Environment, generator: np.random.Generator
) -> DriftRun:
    """Return one run, evaluated after every interval.

    Args:
        experiment: One of `production.running`.
        environment: Conversion rates and delays of its units.
        generator: Source of assignments, conversions and delays.
    """
    rates = environment.rates
    source = _Conversions(environment, experiment)
    sizes = [environment.units] * len(rates)
    intervals = list(simulate(experiment, source, sizes, generator))
    lost = [
        float(interval.assigned @ (rate.max() - rate))
        for interval, rate in zip(intervals, rates, strict=True)
    ]
    return DriftRun(np.array(lost), tuple(interval.snapshot for interval in intervals))


class _Conversions:
    """Conversions of an environment, of which some are still to come."""

    def __init__(self, environment: Environment, experiment: Experiment) -> None:
        self._environment = environment
        self._by_period = experiment.definition.config.periods is not None
        self._cells = Cells()
        self._to_come: dict[int, list[tuple[int, int, int, int]]] = {}

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of an interval, and the conversions that have come by its end."""
        self._assign(look, assigned, weights, generator)
        for variant, propensity, assigned_at_ms, at_ms in self._to_come.pop(look, ()):
            key = variant, propensity, METRIC
            self._cells.observed.add_value(look, key, None, MICRO, at_ms)
            if self._by_period:
                self._cells.observed.add_period_value(variant, None, MICRO, assigned_at_ms, at_ms)
        return self._cells.tally()

    def _assign(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> None:
        environment = self._environment
        interval_ms = environment.interval_ms
        for moment, units in enumerate(_split(assigned)):
            at_ms = look * interval_ms + moment * interval_ms // _MOMENTS
            for variant, n in enumerate(units.tolist()):
                propensity = max(1, weights[variant]) * PROPENSITY_PER_WEIGHT
                self._cells.assigned.add_units(look, {(variant, propensity): n}, at_ms, at_ms)
                if self._by_period:
                    self._cells.assigned.add_assigned({(variant, tick_of(at_ms)): n})
                won = int(generator.binomial(n, environment.rates[look, variant]))
                delays_ms = generator.exponential(1.0, won) * environment.delay_ms
                for delay_ms in delays_ms.tolist():
                    seen_ms = at_ms + int(delay_ms)
                    event = variant, propensity, at_ms, seen_ms
                    self._to_come.setdefault(seen_ms // interval_ms, []).append(event)


def _split(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return counts of units in parts, one a moment, that sum to them."""
    ends = [counts * (moment + 1) // _MOMENTS for moment in range(_MOMENTS)]
    return [end - begin for begin, end in zip([counts * 0, *ends], ends, strict=False)]
