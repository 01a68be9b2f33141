"""Experiments in which not every request can show every variant, through production.

Requests come in kinds that differ in the variants they can show and in how often they convert, as
creatives of a campaign do that has run out of budget in one country.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.production import METRIC, Cells
from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.policies.draw_tables import DrawTable, DrawTables
from streams.stats.arrays import FloatArray
from streams.tallies.cell import Tally


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Kinds of requests, which come independently.

    Attributes:
        eligible: Variants that each kind can show, as for `draw_table`.
        shares: Share of each kind, which sum to 1; shape (n_kinds,).
        rates: Conversion rates, in [0, 1]; shape (n_kinds, n_variants).
        units: Units between two looks.
        looks: Evaluations.
    """

    eligible: Sequence[int]
    shares: FloatArray
    rates: FloatArray
    units: int
    looks: int


def simulate_sets(
    experiment: Experiment,
    requests: Requests,
    generator: np.random.Generator,
    *,
    is_naive: bool = False,
) -> Iterator[Snapshot]:
    """Yield the evaluation after every look of one run.

    Args:
        experiment: A running experiment.
        requests: What is requested.
        generator: Source of requests, assignments and conversions.
        is_naive: Whether it is logged as if all variants had been eligible.
    """
    is_moving = experiment.definition.config.parameters.adaptive
    cells = Cells(requests.rates.shape[1])
    snapshot = evaluate(experiment, Tally(), ())
    for look in range(1, requests.looks + 1):
        tables = DrawTables(snapshot.allocation.weights, has_moved=is_moving, is_compared=True)
        came = generator.multinomial(requests.units, requests.shares).tolist()
        for eligible, rates, n in zip(requests.eligible, requests.rates, came, strict=True):
            drawn = tables.of(eligible)
            logged = tables.of(None) if is_naive else drawn
            _assign(cells, look, drawn, logged, rates, n, generator)
        snapshot = evaluate(experiment, cells.tally(), ())
        yield snapshot


def _assign(
    cells: Cells,
    look: int,
    drawn: DrawTable,
    logged: DrawTable,
    rates: FloatArray,
    n_units: int,
    generator: np.random.Generator,
) -> None:
    counts = generator.multinomial(n_units, np.array(drawn.propensities) / PROPENSITY_ONE)
    converted = generator.binomial(counts, rates).tolist()
    for variant, (units, won) in enumerate(zip(counts.tolist(), converted, strict=True)):
        if not units:
            continue
        chance = variant, logged.propensities[variant], logged.packed
        cells.assigned.add_units(look, {chance: units}, look, look)
        for _ in range(won):
            cells.observed.add_value(look, (*chance, METRIC), None, MICRO, look)
