"""Amounts >= 0 that many units do not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.stats.families.base import (
    PRIOR_OF_SHARE,
    PRIOR_OF_VALUES,
    WEAK_PRIORS,
    Family,
    Priors,
    VariantMetric,
    not_below_zero,
)
from streams.stats.kinds import ContradictionCode, MetricKind
from streams.stats.posteriors.revenue import RevenuePosterior
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally

_UNITS_TO_JUDGE = 30


class Revenue(Family):
    """Amounts >= 0 that many units lack; posterior of the share with a value times its mean."""

    kind: ClassVar[MetricKind] = MetricKind.REVENUE
    contradiction: ClassVar[ContradictionCode | None] = ContradictionCode.NEGATIVE_VALUES
    prior_fields: ClassVar[frozenset[str]] = PRIOR_OF_SHARE | PRIOR_OF_VALUES
    is_not_negative: ClassVar[bool] = True
    needs_positive_prior_mean: ClassVar[bool] = True

    def allows(self, metric: MetricTally) -> bool:
        """Return whether the sum is that of amounts >= 0."""
        return metric.total >= 0

    def is_inferred(self, variants: Sequence[VariantMetric]) -> bool:
        """Return whether some units have no value, or too few units exist to exclude that.

        Otherwise the first amounts would be continuous values, whose mean may be negative.
        """
        with_value = sum(variant.metric.units for variant in variants)
        some_without = any(variant.metric.units < variant.units for variant in variants)
        return some_without or with_value < _UNITS_TO_JUDGE

    def posteriors(
        self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS
    ) -> RevenuePosterior:
        """Return posteriors of the revenue per unit."""
        return RevenuePosterior.observed(
            not_below_zero(samples),
            prior_alpha=priors.alpha,
            prior_beta=priors.beta,
            prior=priors.values,
        )
