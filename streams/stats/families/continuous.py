"""Values of any size and sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.stats.families.base import PRIOR_OF_VALUES, WEAK_PRIORS, Family, Priors, column
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.normal import NormalPosterior
from streams.stats.sample import Sample


class Continuous(Family):
    """Values of any size and sign; their means have Student t posteriors."""

    kind: ClassVar[MetricKind] = MetricKind.CONTINUOUS
    prior_fields: ClassVar[frozenset[str]] = PRIOR_OF_VALUES

    def posteriors(
        self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS
    ) -> NormalPosterior:
        """Return Student t posteriors."""
        deviations = [sample.squared_deviations for sample in samples]
        return NormalPosterior.observed(
            column(samples, "units"), column(samples, "total"), deviations, prior=priors.values
        )
