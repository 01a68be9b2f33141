"""Experiments with several metrics whose rates move, simulated through the code of production.

What is asked is whom they promote, and when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.analysis.promotion import obstacles
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import (
    DEFAULT_CONTROL_SHARE,
    Phase,
    Promotion,
    weight_of_share,
)
from streams.experiments.snapshot import Snapshot
from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.planning.simulation import simulate
from streams.stats.arrays import FloatArray
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted

_BEGIN_MS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcomes of the units of an experiment.

    Attributes:
        rates: By binary metric, the rate of a unit by interval between two looks and by variant,
            each in [0, 1]; shape (n_looks, n_variants), the same for all metrics.
        interval_ms: Time between two looks, > 0.
        units: Units of each interval, >= 1.
    """

    rates: Mapping[str, FloatArray]
    interval_ms: int
    units: Sequence[int]

    def __post_init__(self) -> None:
        for name, rates in self.rates.items():
            if rates.ndim != 2 or not np.all((rates >= 0.0) & (rates <= 1.0)):  # noqa: PLR2004
                raise InvalidParameterError(name, rates.tolist(), "a table within [0, 1]")
            if len(rates) != len(self.units):
                raise InvalidParameterError(name, len(rates), "as many intervals as have units")


@dataclass(frozen=True, slots=True)
class Promoted:
    """End of a run.

    Attributes:
        look: Look of the promotion, from 1 on; 0 for never.
        winner: Index of the variant; None without one.
        units: Units of all variants until then.
    """

    look: int
    winner: int | None
    units: int


def promotion_of(
    experiment: Experiment, outcomes: Outcomes, generator: np.random.Generator
) -> Promoted:
    """Return whom an experiment promotes, evaluated after every interval.

    Args:
        experiment: One of `production.running`.
        outcomes: Outcomes of its units.
        generator: Source of assignments and outcomes.
    """
    for look, snapshot in enumerate(snapshots_of(experiment, outcomes, generator), 1):
        if not obstacles(snapshot):
            return Promoted(look, snapshot.winner, sum(outcomes.units[:look]))
    return Promoted(0, None, sum(outcomes.units))


def snapshots_of(
    experiment: Experiment, outcomes: Outcomes, generator: np.random.Generator
) -> Iterator[Snapshot]:
    """Yield what is published after every interval of an experiment, promoted or running.

    Args:
        experiment: One of `production.running`, or `promoted`.
        outcomes: Outcomes of its units.
        generator: Source of assignments and outcomes.
    """
    promotion = experiment.promotion
    phase = Phase.TRIAL if promotion is None else promotion.phase
    source = _Source(outcomes, experiment.logged_index(0, phase))
    for interval in simulate(experiment, source, outcomes.units, generator):
        yield interval.snapshot


def promoted(experiment: Experiment) -> Experiment:
    """Return an experiment just after the automatic promotion of its first variant."""
    weight = weight_of_share(DEFAULT_CONTROL_SHARE)
    promotion = Promotion(
        0, weight, is_automatic=True, is_rolled_back=False, began_at_ms=1, version=3
    )
    return replace(
        experiment,
        status=Status.CONCLUDED,
        version=3,
        concluded_at_ms=1,
        winner=0,
        promotion=promotion,
    )


class _Source:
    def __init__(self, outcomes: Outcomes, first_index: int) -> None:
        self._outcomes = outcomes
        self._first_index = first_index
        self._variants: dict[int, VariantTally] = {}

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Add the units of an interval, the last one at its end, and their values."""
        outcomes = self._outcomes
        packed = pack_weights(weights)
        found = {
            metric: generator.binomial(assigned, rates[look]).tolist()
            for metric, rates in outcomes.rates.items()
        }
        for variant, (units, weight) in enumerate(zip(assigned.tolist(), weights, strict=True)):
            new = weighted(
                units,
                {metric: _ones(counts[variant]) for metric, counts in found.items()},
                weight * PROPENSITY_PER_WEIGHT,
                variant=variant,
                weights=packed,
                n_variants=len(weights),
            )
            index = self._first_index + variant
            self._variants[index] = self._variants.get(index, VariantTally()) + new
        end_ms = _BEGIN_MS + (look + 1) * outcomes.interval_ms
        return Tally(first_at_ms=_BEGIN_MS, last_at_ms=end_ms, variants=self._variants)


def _ones(n: int) -> MetricTally:
    """Return the tally of n units with the value 1."""
    return MetricTally(
        units=n,
        observations=n,
        total=n * MICRO,
        total_squared=n * MICRO**2,
        total_cubed=n * MICRO**3,
        binary_observations=n,
        positive_units=n,
    )
