"""Kinds of metrics, and contradictions of a declared kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import computed_field

from streams.model.published import Open, Published, VariantIndex


class MetricKind(StrEnum):
    """Kind of the values of the units, which determines the model of their mean.

    `binary`: 0 or 1. `count`: whole numbers from 0 up. `revenue`: amounts >= 0 that many units do
    not have. `continuous`: anything else. `ratio`: one metric over another, and `quantile`: the
    value that a share of the units do not exceed; both declared as such.
    """

    BINARY = "binary"
    COUNT = "count"
    REVENUE = "revenue"
    CONTINUOUS = "continuous"
    RATIO = "ratio"
    QUANTILE = "quantile"


class ContradictionCode(StrEnum):
    """Contradictions between the tallies of a metric and its declared kind."""

    NOT_BINARY = "NOT_BINARY"
    NOT_COUNTS = "NOT_COUNTS"
    NEGATIVE_VALUES = "NEGATIVE_VALUES"
    DENOMINATOR_NOT_POSITIVE = "DENOMINATOR_NOT_POSITIVE"


_FINDINGS = {
    ContradictionCode.NOT_BINARY: (MetricKind.BINARY, "received a value other than 0 or 1"),
    ContradictionCode.NOT_COUNTS: (
        MetricKind.COUNT,
        "received a value that is not a whole number from 0 up",
    ),
    ContradictionCode.NEGATIVE_VALUES: (MetricKind.REVENUE, "received a value below 0"),
    ContradictionCode.DENOMINATOR_NOT_POSITIVE: (
        MetricKind.RATIO,
        "has a denominator that is not above 0",
    ),
}


@dataclass(frozen=True, slots=True)
class Contradiction(Published):
    """Tallies that values of the declared kind cannot have.

    Attributes:
        code: The contradiction.
        variant: Index of the first variant whose tally shows it.
    """

    code: Open[ContradictionCode]
    variant: VariantIndex

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def message(self) -> str:
        """One sentence for a person."""
        return self.described(str(self.variant))

    def described(self, variant: str) -> str:
        """Return the contradiction as the predicate of a sentence about the metric.

        Args:
            variant: Index or name of the variant.
        """
        if self.code not in _FINDINGS:
            return f"declared of another kind than the values of variant {variant} have"
        kind, finding = _FINDINGS[ContradictionCode(self.code)]
        return f"declared {kind}, but variant {variant} {finding}"
