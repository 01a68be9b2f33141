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
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.fold.cohorts import add_to_cohorts
from streams.fold.deduplication import DeduplicationWindow
from streams.fold.hashing import hash_of
from streams.fold.measuring import CountedObservation, Measurement
from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.planning.simulation import NUMBER, simulate
from streams.stats.arrays import FloatArray
from streams.tallies.cell import Tally
from streams.tallies.fields import Chance
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
        delay_ms: Mean time until a conversion, 0 for at once: of all, or by interval and variant,
            of a shape that broadcasts to that of `rates`.
        delay_spread: Standard deviation of the logarithm of that time, which is log-normal; 0 for
            an exponential one.
        events: Mean number of conversions of a unit that converts, >= 1; each has its own delay.
        spread: Standard deviation of the logarithm of their values, which are log-normal with the
            mean 1; 0 for the value 1.
    """

    rates: FloatArray
    interval_ms: int
    units: int
    delay_ms: float | FloatArray = 0.0
    delay_spread: float = 0.0
    events: float = 1.0
    spread: float = 0.0

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


def declared_in_drift(
    experiment: Experiment, environment: Environment, generator: np.random.Generator
) -> tuple[int, int | None]:
    """Return the look at which a winner was first declared, from 1 on, and that winner.

    Args:
        experiment, environment, generator: As in `simulate_drift`; the run ends with that look.

    Returns:
        (0, None) if none ever was.
    """
    sizes = [environment.units] * len(environment.rates)
    source = _Conversions(environment, experiment)
    for look, interval in enumerate(simulate(experiment, source, sizes, generator), 1):
        if interval.snapshot.winner is not None:
            return look, interval.snapshot.winner
    return 0, None


@dataclass(slots=True)
class _Unit:
    """A unit that converts.

    Attributes:
        chance, assigned_at_ms: Its assignment.
        total: Sum of its observations so far, in micro-units; None before the first.
    """

    chance: Chance
    assigned_at_ms: int
    total: int | None = None


class _Conversions:
    """Conversions of an environment, of which some are still to come."""

    def __init__(self, environment: Environment, experiment: Experiment) -> None:
        self._environment = environment
        self._delays_ms = np.broadcast_to(environment.delay_ms, environment.rates.shape)
        plan = plan_of(experiment.definition)
        self._by_period = plan.by_period is not None
        self._window_s = plan.windows.get(METRIC, 0)
        self._measurement = Measurement(plan, {METRIC: hash_of(METRIC)})
        self._remembered = DeduplicationWindow(NUMBER, 1)  # asked for products, which do not exist
        self._cells = Cells(environment.rates.shape[1])
        self._to_come: dict[int, list[tuple[int, _Unit, int]]] = {}

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of an interval, and the conversions that have come by its end."""
        self._assign(look, assigned, weights, generator)
        for at_ms, unit, value in self._to_come.pop(look, ()):
            self._observe(look, at_ms, unit, value)
        return self._cells.tally()

    def _observe(self, look: int, at_ms: int, unit: _Unit, value: int) -> None:
        """Count an observation as the fold does."""
        if self._window_s and at_ms - unit.assigned_at_ms > 1000 * self._window_s:
            self._cells.observed.add_late(look, at_ms)
            return
        counted = CountedObservation(
            look,
            (*unit.chance, METRIC),
            unit.total,
            value,
            at_ms,
            None,
            0,
            unit.assigned_at_ms,
            0,
            b"",
        )
        self._measurement.count(self._cells.observed, self._remembered, counted)
        unit.total = (unit.total or 0) + value

    def _assign(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> None:
        environment = self._environment
        interval_ms = environment.interval_ms
        packed = pack_weights(weights)
        for moment, units in enumerate(_split(assigned)):
            at_ms = look * interval_ms + moment * interval_ms // _MOMENTS
            for variant, n in enumerate(units.tolist()):
                chance = variant, max(1, weights[variant]) * PROPENSITY_PER_WEIGHT, packed
                self._cells.assigned.add_units(look, {chance: n}, at_ms, at_ms)
                if self._by_period:
                    self._cells.assigned.sums.add_assigned({(variant, tick_of(at_ms)): n})
                if self._window_s:
                    rows = [(chance, at_ms, None)] * n
                    add_to_cohorts(self._cells.assigned, self._window_s, rows)
                won = int(generator.binomial(n, environment.rates[look, variant]))
                self._convert(
                    [_Unit(chance, at_ms) for _ in range(won)],
                    float(self._delays_ms[look, variant]),
                    generator,
                )

    def _convert(self, units: list[_Unit], delay_ms: float, generator: np.random.Generator) -> None:
        """Draw when units convert, and with which values."""
        environment = self._environment
        if environment.events > 1.0:
            further = generator.poisson(environment.events - 1.0, len(units)).tolist()
            units = [unit for unit, n in zip(units, further, strict=True) for _ in range(n + 1)]
        sigma, delay_sigma = environment.spread, environment.delay_spread
        if delay_sigma:
            relative = generator.lognormal(-(delay_sigma**2) / 2.0, delay_sigma, len(units))
        else:
            relative = generator.exponential(1.0, len(units))
        values = np.full(len(units), MICRO)
        if sigma:
            values = np.rint(MICRO * generator.lognormal(-(sigma**2) / 2.0, sigma, len(units)))
        for unit, delay, value in zip(
            units, (relative * delay_ms).tolist(), values.astype(np.int64).tolist(), strict=True
        ):
            seen_ms = unit.assigned_at_ms + int(delay)
            place = seen_ms // environment.interval_ms
            self._to_come.setdefault(place, []).append((seen_ms, unit, value))


def _split(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return counts of units in parts, one a moment, that sum to them."""
    ends = [counts * (moment + 1) // _MOMENTS for moment in range(_MOMENTS)]
    return [end - begin for begin, end in zip([counts * 0, *ends], ends, strict=False)]
