"""Experiments lived through the code that runs in production, from the cells to the promotion.

The simulations of `stopping` hold thousands of experiments in arrays, and repeat for that in a few
lines what production does in many. Here one experiment is lived at a time: units are shared out by
the published integer weights, cells are built from them, merged, and evaluated. That is a thousand
times slower, and shows that the arrays say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.traffic import Arrivals
from streams.analysis.evaluate import evaluate
from streams.analysis.promotion import obstacles
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics import RecommendedAction
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally, merge

METRIC = "click"
NUMBER = 7
PROPENSITY_PER_WEIGHT = PROPENSITY_ONE // ALLOCATION_TOTAL


@dataclass(frozen=True, slots=True, eq=False)
class Life:
    """What came of one experiment, look by look.

    Attributes:
        arrived: What every interval brought; arrays of shape (1, n_variants).
        actions: What was recommended at its end.
        winners: Index of the variant that was named; None for none.
        promoted_at: Look at which nothing stood in the way of a promotion, from 1 on; 0 for never.
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
    def first_named(self) -> tuple[int, int]:
        """The look at which a variant was first named, and that variant; (0, -1) for never."""
        for look, winner in enumerate(self.winners, 1):
            if winner is not None:
                return look, winner
        return 0, -1


def running(policy: str, n_variants: int, **config: object) -> Experiment:
    """Return a running experiment with a binary metric.

    Args:
        policy: Key of `POLICIES`.
        n_variants: Number of variants; the last one is the control.
        config: More of the configuration, in the words of JSON.
    """
    declared = {"name": "calibration", "type": policy, "primaryMetric": METRIC, **config}
    definition = parse_definition(
        declared,
        [{"name": f"V{i}", "isControl": i == n_variants - 1} for i in range(n_variants)],
    )
    return Experiment(
        number=NUMBER,
        definition=definition,
        status=Status.RUNNING,
        version=2,
        created_at_ms=0,
        started_at_ms=0,
        started_version=2,
        planned_units=definition.config.min_sample_size,
    )


def live(
    experiment: Experiment,
    rates: Sequence[float],
    looks: int,
    units_per_look: int,
    generator: np.random.Generator,
    *,
    until_promoted: bool = False,
) -> Life:
    """Return the life of an experiment.

    Args:
        experiment: It runs, and its primary metric is binary.
        rates: Success rate of each variant.
        looks: How often it is evaluated.
        units_per_look: Units between two evaluations.
        generator: Source of the assignments and the clicks.
        until_promoted: Whether it ends with the first promotion.
    """
    assigned = CellBuilder(NUMBER, Source.IMPRESSIONS, 0)
    observed = CellBuilder(NUMBER, Source.OBSERVATIONS, 0)
    snapshot = evaluate(experiment, Tally(), ())
    arrived, snapshots, promoted_at = [], [], 0
    for look in range(1, looks + 1):
        new = _arrivals(snapshot.allocation.weights, rates, units_per_look, generator)
        _add(assigned, observed, look, snapshot.allocation.weights, new)
        cells = [cell for cell in (assigned.freeze(), observed.freeze() or observed.cell) if cell]
        snapshot = evaluate(experiment, merge(cells), ())
        arrived.append(new)
        snapshots.append(snapshot)
        if not promoted_at and not obstacles(snapshot):
            promoted_at = look
            if until_promoted:
                break
    return Life(tuple(arrived), *_said(snapshots), promoted_at)


def together(lives: Sequence[Life]) -> Iterator[Arrivals]:
    """Yield what arrived in equally long lives as `stopping.judge` takes it."""
    for intervals in zip(*(life.arrived for life in lives), strict=True):
        yield Arrivals(
            *(
                np.concatenate([getattr(new, name) for new in intervals])
                for name in Arrivals.__slots__
            )
        )


def _arrivals(
    weights: Sequence[int], rates: Sequence[float], units: int, generator: np.random.Generator
) -> Arrivals:
    shares = np.array(weights) / ALLOCATION_TOTAL
    counts = generator.multinomial(units, shares)
    won = generator.binomial(counts, rates).astype(np.float64)[None]
    return Arrivals(shares[None], counts.astype(np.float64)[None], won, won, won)


def _add(
    assigned: CellBuilder,
    observed: CellBuilder,
    look: int,
    weights: Sequence[int],
    new: Arrivals,
) -> None:
    """Add the units of an interval, and then their clicks, one by one."""
    propensities = [weight * PROPENSITY_PER_WEIGHT for weight in weights]
    places = list(enumerate(propensities))
    counts = new.units[0].astype(int).tolist()
    assigned.add_units(look, dict(zip(places, counts, strict=True)), look, look)
    for (variant, propensity), clicks in zip(
        places, new.total[0].astype(int).tolist(), strict=True
    ):
        for _ in range(clicks):
            observed.add_value(look, (variant, propensity, METRIC), None, MICRO, look)


def _said(
    snapshots: Sequence[Snapshot],
) -> tuple[tuple[RecommendedAction, ...], tuple[int | None, ...]]:
    return (
        tuple(snapshot.recommended_action for snapshot in snapshots),
        tuple(snapshot.winner for snapshot in snapshots),
    )
