"""Experiments by the values of two dimensions, through production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.production import METRIC
from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.stats.arrays import FloatArray
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge


@dataclass(frozen=True, slots=True, eq=False)
class SlicedUnits:
    """Units that come by two independent dimensions.

    Attributes:
        shares: Share of each value of either dimension, the others first; they sum to 1.
        rates: Conversion rate of the variants at each value of the first dimension; shape
            (n_values, n_variants).
        units: Units between two looks.
        looks: Evaluations.
    """

    shares: Sequence[float]
    rates: FloatArray
    units: int
    looks: int


@dataclass(frozen=True, slots=True, eq=False)
class SlicedLook:
    """One look.

    Attributes:
        snapshot: The evaluation.
        units, converted: Of each value of the first dimension and variant so far; shape (n_values,
            n_variants).
    """

    snapshot: Snapshot
    units: NDArray[np.int64]
    converted: NDArray[np.int64]


def simulate_slices(
    experiment: Experiment, sliced: SlicedUnits, generator: np.random.Generator
) -> Iterator[SlicedLook]:
    """Yield every look of one run.

    Args:
        experiment: A running experiment with two dimensions.
        sliced: What comes.
        generator: Source of values, assignments and conversions.
    """
    plan = plan_of(experiment.definition)
    number = experiment.number
    assigned = CellBuilder(number, Source.IMPRESSIONS, 0, plan=plan)
    observed = CellBuilder(number, Source.OBSERVATIONS, 0, plan=plan)
    units, converted = (np.zeros(sliced.rates.shape, np.int64) for _ in range(2))
    snapshot = evaluate(experiment, Tally(), ())
    for look in range(1, sliced.looks + 1):
        weights = snapshot.allocation.weights
        packed = pack_weights(weights)
        shares = np.array(weights) / sum(weights)
        came = generator.multinomial(sliced.units, np.outer(sliced.shares, sliced.shares).ravel())
        for place, n in enumerate(came.tolist()):
            first, second = divmod(place, len(sliced.shares))
            counts = generator.multinomial(n, shares)
            won = generator.binomial(counts, sliced.rates[first])
            units[first] += counts
            converted[first] += won
            values = bytes([first, second])
            for variant, weight in enumerate(weights):
                chance = variant, weight * PROPENSITY_PER_WEIGHT, packed
                assigned.add_units(look, {chance: int(counts[variant])}, look, look)
                for sums in assigned.slices(values):
                    sums.add_units({chance: int(counts[variant])})
                for _ in range(int(won[variant])):
                    observed.add_value(look, (*chance, METRIC), None, MICRO, look)
                    for sums in observed.slices(values):
                        sums.add_value((*chance, METRIC), None, MICRO)
        cells = [builder.freeze() or builder.cell for builder in (assigned, observed)]
        snapshot = evaluate(experiment, merge([cell for cell in cells if cell is not None]), ())
        yield SlicedLook(snapshot, units.copy(), converted.copy())
