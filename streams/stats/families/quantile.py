"""The value that a share of the units do not exceed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Never

from streams.model.errors import InvalidParameterError
from streams.stats.families.base import WEAK_PRIORS, Family, Priors, VariantMetric
from streams.stats.kinds import MetricKind
from streams.stats.sample import Sample


class Quantile(Family):
    """A quantile of the values >= 0 of the units with a value; always declared.

    Its posterior needs a histogram of the values: see `streams.analysis.quantiles`.
    """

    kind: ClassVar[MetricKind] = MetricKind.QUANTILE
    is_not_negative: ClassVar[bool] = True
    cap_refusal: ClassVar[str | None] = "a quantile depends on no value far above it"

    def is_inferred(self, variants: Sequence[VariantMetric]) -> bool:  # noqa: ARG002
        """Return False: a quantile cannot be inferred from tallies."""
        return False

    def posteriors(self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS) -> Never:  # noqa: ARG002
        """Refuse: sums have no quantile."""
        raise InvalidParameterError("kind", self.kind.value, "of sums")

    def measure(self, metric: str) -> str:
        """Return the name: a quantile is not a mean per unit."""
        return metric
