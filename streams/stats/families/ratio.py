"""The sum of one metric over the sum of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Never

from streams.model.errors import InvalidParameterError
from streams.stats.families.base import WEAK_PRIORS, Family, Priors, VariantMetric
from streams.stats.kinds import ContradictionCode, MetricKind
from streams.stats.sample import Sample


class Ratio(Family):
    """The sum of one metric over that of another; always declared, with its two components.

    Its posterior needs the sums of both and of their products: see
    `streams.stats.posteriors.ratio`.
    """

    kind: ClassVar[MetricKind] = MetricKind.RATIO
    contradiction: ClassVar[ContradictionCode | None] = ContradictionCode.DENOMINATOR_NOT_POSITIVE
    cap_refusal: ClassVar[str | None] = (
        "a ratio cannot have a cap; cap its numerator or its denominator"
    )
    has_bounds: ClassVar[bool] = False

    def is_inferred(self, variants: Sequence[VariantMetric]) -> bool:  # noqa: ARG002
        """Return False: a ratio cannot be inferred from tallies."""
        return False

    def posteriors(self, samples: Sequence[Sample], priors: Priors = WEAK_PRIORS) -> Never:  # noqa: ARG002
        """Refuse: one metric has no ratio."""
        raise InvalidParameterError("kind", self.kind.value, "of one metric")

    def measure(self, metric: str) -> str:
        """Return the name: a ratio is per denominator."""
        return metric
