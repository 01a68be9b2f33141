"""Values that are whole numbers >= 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray
from streams.stats.families.base import WEAK_PRIORS, Family, Priors, column, not_below_zero
from streams.stats.kinds import ContradictionCode, MetricKind
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally

_SQUARE = MICRO * MICRO
_PRIOR_UNITS_OF_DISPERSION = 3.0  # the weight of the prior of a variance


class Count(Family):
    """Whole numbers >= 0; their means have Gamma posteriors."""

    kind: ClassVar[MetricKind] = MetricKind.COUNT
    contradiction: ClassVar[ContradictionCode | None] = ContradictionCode.NOT_COUNTS
    prior_fields: ClassVar[frozenset[str]] = frozenset({"events", "event_units"})
    is_whole: ClassVar[bool] = True
    is_not_negative: ClassVar[bool] = True

    def allows(self, metric: MetricTally) -> bool:
        """Return whether the sums are those of whole numbers >= 0.

        Their sum and the sum of their squares are whole, x^2 >= x, and x^2 - x is even.
        """
        if metric.total < 0 or metric.total % MICRO or metric.total_squared % _SQUARE:
            return False
        surplus = metric.total_squared // _SQUARE - metric.total // MICRO
        return surplus >= 0 and surplus % 2 == 0

    def posteriors(self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS) -> GammaPosterior:
        """Return Gamma posteriors, widened by the dispersion of the counts."""
        samples = not_below_zero(samples)
        return GammaPosterior.observed(
            column(samples, "total"),
            column(samples, "units"),
            prior_events=priors.events,
            prior_units=priors.event_units,
            dispersion=dispersions(samples),
        )


def dispersions(samples: Sequence[Sample]) -> FloatArray:
    """Return variance over mean of the counts of every arm, at least 1; shape (n_arms,).

    They are estimated per arm and shrunk towards the 1 of Poisson counts with the weight of three
    units: a unit of another arm must not widen the posterior of this one. Underdispersed counts,
    such as events that happen once to every user, are treated as Poisson, which is conservative.
    """
    ratios = np.array(
        [
            sample.squared_deviations / sample.mean if sample.mean > 0.0 else sample.units
            for sample in samples
        ],
        dtype=np.float64,
    )  # sum of squared deviations over the mean; as many as units, for Poisson counts
    units = column(samples, "units")
    weight = _PRIOR_UNITS_OF_DISPERSION
    own: FloatArray = np.maximum((weight + ratios) / (weight + units), 1.0)
    return own
