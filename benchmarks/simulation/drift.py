"""Experiments in a world that changes, lived through the tallies and the evaluation of production.

Rates move, and conversions take their time. What is asked is what a policy loses by them, and what
the reports say, with all units alike and with units of different times told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.lives import METRIC, NUMBER, PROPENSITY_PER_WEIGHT
from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.errors import InvalidParameterError
from streams.model.quantities import ALLOCATION_TOTAL, MICRO
from streams.stats.arrays import FloatArray
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Cell, Source, Tally, merge
from streams.tallies.periods import tick_of

_MOMENTS = 4
"""Units of an interval are assigned at so many moments, evenly spread."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What happens to units, whoever assigns them.

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
class Course:
    """What came of one experiment.

    Attributes:
        lost: Expected conversions that the best variant of each interval would have had beyond
            those assigned; shape (n_looks,).
        snapshots: What was published at the end of each interval.
    """

    lost: FloatArray
    snapshots: tuple[Snapshot, ...]


def go_through(experiment: Experiment, world: World, generator: np.random.Generator) -> Course:
    """Return what comes of an experiment, evaluated after every interval.

    Args:
        experiment: Its one metric is that of `lives.running`.
        world: What happens to its units.
        generator: Source of assignments, conversions and delays.
    """
    under_way = _UnderWay(world, experiment)
    snapshot = evaluate(experiment, Tally(), ())
    lost, snapshots = [], []
    for look in range(len(world.rates)):
        weights = np.array(snapshot.allocation.weights)
        counts = generator.multinomial(world.units, weights / ALLOCATION_TOTAL)
        lost.append(float(counts @ (world.rates[look].max() - world.rates[look])))
        under_way.assign(look, counts, weights.tolist(), generator)
        snapshot = evaluate(experiment, under_way.tally(look), ())
        snapshots.append(snapshot)
    return Course(np.array(lost), tuple(snapshots))


class _UnderWay:
    """The tallies, and the conversions that have not come yet."""

    def __init__(self, world: World, experiment: Experiment) -> None:
        self._world = world
        self._by_period = experiment.definition.config.periods is not None
        self._assigned = CellBuilder(NUMBER, Source.IMPRESSIONS, 0)
        self._observed = CellBuilder(NUMBER, Source.OBSERVATIONS, 0)
        self._to_come: dict[int, list[tuple[int, int, int, int]]] = {}

    def assign(
        self,
        look: int,
        counts: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> None:
        """Assign the units of an interval, and draw what will come of them."""
        world = self._world
        for moment, units in enumerate(_split(counts)):
            at_ms = look * world.interval_ms + moment * world.interval_ms // _MOMENTS
            for variant, n in enumerate(units.tolist()):
                propensity = max(1, weights[variant]) * PROPENSITY_PER_WEIGHT
                self._assigned.add_units(look, {(variant, propensity): n}, at_ms, at_ms)
                if self._by_period:
                    self._assigned.add_assigned({(variant, tick_of(at_ms)): n})
                won = int(generator.binomial(n, world.rates[look, variant]))
                for delay_ms in (generator.exponential(1.0, won) * world.delay_ms).tolist():
                    seen_ms = at_ms + int(delay_ms)
                    event = variant, propensity, at_ms, seen_ms
                    self._to_come.setdefault(seen_ms // world.interval_ms, []).append(event)

    def tally(self, look: int) -> Tally:
        """Return the tally with all that has come by the end of an interval."""
        for variant, propensity, assigned_at_ms, at_ms in self._to_come.pop(look, ()):
            key = variant, propensity, METRIC
            self._observed.add_value(look, key, None, MICRO, at_ms)
            if self._by_period:
                self._observed.add_period_value(variant, None, MICRO, assigned_at_ms, at_ms)
        cells = [cell for each in (self._assigned, self._observed) if (cell := _newest(each))]
        return merge(cells)


def _newest(builder: CellBuilder) -> Cell | None:
    return builder.freeze() or builder.cell


def _split(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return counts of units in parts, one a moment, that sum to them."""
    ends = [counts * (moment + 1) // _MOMENTS for moment in range(_MOMENTS)]
    return [end - begin for begin, end in zip([counts * 0, *ends], ends, strict=False)]
