"""Experiments whose variants are added and stopped while they run, through production.

Commands change the experiment as they do in a worker, variants are drawn as an API draws them, and
all is folded and evaluated by production code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulation.production import METRIC, Cells
from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.experiments.transitions import apply_command
from streams.model.events import Command, CommandKind
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.policies.draw_tables import DrawTables
from streams.stats.arrays import FloatArray
from streams.tallies.cell import Tally

Change = tuple[CommandKind, Mapping[str, Any]]
"""Kind and payload of a command."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Units, their conversion rates, and commands of a run.

    Attributes:
        rates: Conversion rate of each variant at a look, from 0 on; shape (n,), of at least as many
            variants as there are then.
        units: Units between two looks.
        looks: Evaluations.
        changes: Commands before the units of a look, from 0 on.
    """

    rates: Callable[[int], FloatArray]
    units: int
    looks: int
    changes: Mapping[int, tuple[Change, ...]]


def simulate_changes(
    experiment: Experiment, course: Course, generator: np.random.Generator
) -> Iterator[Snapshot]:
    """Yield the evaluation after every look of one run.

    Args:
        experiment: A running experiment.
        course: The course of the run.
        generator: Source of assignments and conversions.
    """
    is_adaptive = experiment.definition.config.parameters.adaptive
    cells = Cells(experiment.n_started)
    snapshot = evaluate(experiment, Tally(), ())
    for look in range(course.looks):
        for kind, payload in course.changes.get(look, ()):
            version = experiment.version
            command = Command(f"{version:032x}", experiment.number, kind, look, payload)
            experiment = apply_command(experiment, command)
            snapshot = evaluate(experiment, cells.tally() if look else Tally(), ())
        has_moved = is_adaptive or experiment.roster is not None
        table = DrawTables(snapshot.allocation.weights, has_moved=has_moved, is_compared=True).of(
            None
        )
        shares = np.array(table.propensities) / PROPENSITY_ONE
        counts = generator.multinomial(course.units, shares)
        rates = course.rates(look)[: len(counts)]
        converted = generator.binomial(counts, rates).tolist()
        for variant, (units, won) in enumerate(zip(counts.tolist(), converted, strict=True)):
            if not units:
                continue
            chance = variant, table.propensities[variant], table.packed
            cells.assigned.add_units(look + 1, {chance: units}, look + 1, look + 1)
            for _ in range(won):
                cells.observed.add_value(look + 1, (*chance, METRIC), None, MICRO, look + 1)
        snapshot = evaluate(experiment, cells.tally(), ())
        yield snapshot
