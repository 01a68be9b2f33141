"""Simulated experiments: drawn outcomes, and the code that evaluates and allocates for real ones.

The one simulator of `experiment plan` and of the calibration. A caller says how outcomes are drawn
(`OutcomeSource`), and takes the intervals of the run until it has seen enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import ALLOCATION_TOTAL
from streams.tallies.cell import Tally

NUMBER = 1
"""Number of a simulated experiment."""


class OutcomeSource(Protocol):
    """Source of the outcomes of the units of one run."""

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Draw the outcomes of an interval, and return the tally of the run at its end.

        Args:
            look: Index of the interval, from 0.
            assigned: Units assigned in the interval; shape (n_variants,).
            weights: Integer weights by which they were assigned.
            generator: Source of the draws.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Units between two evaluations of a run.

    Attributes:
        assigned: Units of each variant; shape (n_variants,).
        weights: Integer weights by which they were assigned.
        snapshot: Evaluation at the end of the interval.
    """

    assigned: NDArray[np.int64]
    weights: tuple[int, ...]
    snapshot: Snapshot


def simulate(
    experiment: Experiment,
    source: OutcomeSource,
    units: Iterable[int],
    generator: np.random.Generator,
) -> Iterator[Interval]:
    """Yield the intervals of one run; a consumer that stops ends it.

    Args:
        experiment: A running experiment.
        source: Source of outcomes, for this run alone.
        units: Units of each interval.
        generator: Source of assignments, and of the draws of `source`.
    """
    weights = evaluate(experiment, Tally(), ()).allocation.weights
    for look, size in enumerate(units):
        assigned = generator.multinomial(size, np.array(weights) / ALLOCATION_TOTAL)
        tally = source.tally_after(look, assigned, weights, generator)
        snapshot = evaluate(experiment, tally, ())
        yield Interval(assigned, weights, snapshot)
        weights = snapshot.allocation.weights


def running_experiment(config: Mapping[str, Any], n_variants: int, control: int = 0) -> Experiment:
    """Return a running experiment.

    Args:
        config: Configuration, by its names in JSON.
        n_variants: Number of variants.
        control: Index of the control.

    Raises:
        InputError: The configuration is invalid, with code and path.
    """
    variants = [
        {"name": f"variant {index}", "isControl": index == control} for index in range(n_variants)
    ]
    definition = parse_definition(dict(config), variants)
    return Experiment(
        number=NUMBER,
        definition=definition,
        status=Status.RUNNING,
        version=2,
        created_at_ms=0,
        started_at_ms=0,
        started_version=2,
    )
