"""Experiments simulated through the code of production, from the cells to the promotion.

The simulations of `stopping` hold thousands of experiments in arrays, and repeat for that in a few
lines what production does in many. Here one experiment is simulated at a time: units are assigned
by the published integer weights, cells are built from them, merged, and evaluated. That is a
thousand times slower, and shows that the arrays give the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.traffic import Arrivals
from streams.analysis.promotion import obstacles
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.planning.simulation import NUMBER, Interval, running_experiment, simulate
from streams.stats.arrays import FloatArray
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge
from streams.tallies.plan import Plan

METRIC = "click"


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRun:
    """One experiment, look by look.

    Attributes:
        arrived: Units and clicks of each interval; arrays of shape (1, n_variants).
        actions: Recommended actions at its end.
        winners: Index of the winning variant; None without one.
        promoted_at: First look without an obstacle to a promotion, from 1 on; 0 for never.
    """

    arrived: tuple[Arrivals, ...]
    actions: tuple[RecommendedAction, ...]
    winners: tuple[int | None, ...]
    promoted_at: int

    @property
    def units(self) -> int:
        """Units of all variants."""
        return round(sum(float(new.units.sum()) for new in self.arrived))

    @property
    def first_declared(self) -> tuple[int, int]:
        """The look at which a variant was first declared, and that variant; (0, -1) for never."""
        for look, winner in enumerate(self.winners, 1):
            if winner is not None:
                return look, winner
        return 0, -1


def running(policy: str, n_variants: int, **config: object) -> Experiment:
    """Return a running experiment with a binary metric; the last variant is the control.

    Args:
        policy: Key of `POLICIES`.
        n_variants: Number of variants.
        config: More of the configuration, by its names in JSON.
    """
    declared = {"name": "calibration", "type": policy, "primaryMetric": METRIC, **config}
    return running_experiment(declared, n_variants, control=n_variants - 1)


def simulate_clicks(
    experiment: Experiment,
    rates: Sequence[float],
    looks: int,
    units_per_look: int,
    generator: np.random.Generator,
    *,
    until_promoted: bool = False,
) -> SimulatedRun:
    """Return one run with constant click rates.

    Args:
        experiment: One of `running`.
        rates: Click rate of each variant, in [0, 1].
        looks: Number of evaluations.
        units_per_look: Units between two evaluations.
        generator: Source of the assignments and the clicks.
        until_promoted: Whether the run ends with the first promotion.
    """
    source = _Clicks(rates)
    arrived, snapshots, promoted_at = [], [], 0
    intervals = simulate(experiment, source, repeat(units_per_look, looks), generator)
    for look, interval in enumerate(intervals, 1):
        arrived.append(_arrivals(interval, source.clicks))
        snapshots.append(interval.snapshot)
        if not promoted_at and not obstacles(interval.snapshot):
            promoted_at = look
            if until_promoted:
                break
    return SimulatedRun(
        tuple(arrived),
        tuple(snapshot.recommended_action for snapshot in snapshots),
        tuple(snapshot.winner for snapshot in snapshots),
        promoted_at,
    )


def simulate_snapshots(
    experiment: Experiment,
    rates: Sequence[float],
    looks: int,
    units_per_look: int,
    generator: np.random.Generator,
) -> Iterator[Snapshot]:
    """Yield the evaluations of one run of `simulate_clicks`; a consumer that stops ends it."""
    intervals = simulate(experiment, _Clicks(rates), repeat(units_per_look, looks), generator)
    return (interval.snapshot for interval in intervals)


def together(runs: Sequence[SimulatedRun]) -> Iterator[Arrivals]:
    """Yield what arrived in equally long runs as `stopping.judge` takes it."""
    for intervals in zip(*(run.arrived for run in runs), strict=True):
        yield Arrivals(
            **{
                name: np.concatenate([getattr(new, name) for new in intervals])
                for name in Arrivals.__slots__
                if getattr(intervals[0], name) is not None
            }
        )


class Cells:
    """Cells of one partition, as the fold builds them.

    Attributes:
        assigned: Builder of the cell of impressions.
        observed: Builder of the cell of observations.
    """

    def __init__(self, n_variants: int) -> None:
        plan = Plan(declared=frozenset({METRIC}), n_variants=n_variants)
        self.assigned = CellBuilder(NUMBER, Source.IMPRESSIONS, 0, plan=plan)
        self.observed = CellBuilder(NUMBER, Source.OBSERVATIONS, 0, plan=plan)

    def tally(self) -> Tally:
        """Return the tally of both cells."""
        builders = (self.assigned, self.observed)
        cells = (builder.freeze() or builder.cell for builder in builders)
        return merge([cell for cell in cells if cell is not None])


class _Clicks:
    """Clicks at constant rates; those of the last interval are `clicks`."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = rates
        self._cells = Cells(len(rates))
        self.clicks: NDArray[np.int64] = np.zeros(len(rates), np.int64)

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of the interval, and then their clicks, one by one."""
        self.clicks = generator.binomial(assigned, self._rates)
        offset = look + 1
        packed = pack_weights(weights)
        keys = [
            (variant, weight * PROPENSITY_PER_WEIGHT, packed)
            for variant, weight in enumerate(weights)
        ]
        counts = dict(zip(keys, assigned.tolist(), strict=True))
        self._cells.assigned.add_units(offset, counts, offset, offset)
        for key, clicks in zip(keys, self.clicks.tolist(), strict=True):
            for _ in range(clicks):
                self._cells.observed.add_value(offset, (*key, METRIC), None, MICRO, offset)
        return self._cells.tally()


def _arrivals(interval: Interval, clicks: NDArray[np.int64]) -> Arrivals:
    def row(values: NDArray[np.int64]) -> FloatArray:
        return values.astype(np.float64)[None]

    shares = row(np.array(interval.weights)) / ALLOCATION_TOTAL
    return Arrivals(shares, row(interval.assigned), *(row(clicks) for _ in range(4)))
