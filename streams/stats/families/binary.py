"""Values that are 0 or 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from streams.model.quantities import MICRO
from streams.stats.families.base import PRIOR_OF_SHARE, WEAK_PRIORS, Family, Priors, column
from streams.stats.kinds import ContradictionCode, MetricKind
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally


class Binary(Family):
    """Values that are 0 or 1; their means have Beta posteriors.

    Examples:
        >>> clicks = [Sample(98, 3, 3, 0, 0), Sample(98, 6, 6, 0, 0)]
        >>> Binary().posteriors(clicks, Priors()).means
        array([0.04, 0.07])
    """

    kind: ClassVar[MetricKind] = MetricKind.BINARY
    contradiction: ClassVar[ContradictionCode | None] = ContradictionCode.NOT_BINARY
    prior_fields: ClassVar[frozenset[str]] = PRIOR_OF_SHARE
    is_whole: ClassVar[bool] = True
    is_not_negative: ClassVar[bool] = True
    largest: ClassVar[int | None] = MICRO
    cap_refusal: ClassVar[str | None] = "a metric of 0 and 1 has no cap"
    has_bounds: ClassVar[bool] = False
    is_exact: ClassVar[bool] = True

    def allows(self, metric: MetricTally) -> bool:
        """Return whether x^2 = x in sum, which holds only for 0 and 1."""
        return metric.total_squared == metric.total * MICRO

    def posteriors(self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS) -> BetaPosterior:
        """Return Beta posteriors."""
        units, totals = column(samples, "units"), column(samples, "total")
        return BetaPosterior.observed(
            totals,
            np.maximum(units - totals, 0.0),
            prior_alpha=1.0 if priors.alpha is None else priors.alpha,
            prior_beta=1.0 if priors.beta is None else priors.beta,
        )
