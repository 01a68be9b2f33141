"""The families by metric kind, and the inference of the kind of a metric from its tallies.

Adding a kind is one module beside this one, one member of `MetricKind` and one entry of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.stats.families.base import Family, VariantMetric
from streams.stats.families.binary import Binary
from streams.stats.families.continuous import Continuous
from streams.stats.families.count import Count
from streams.stats.families.quantile import Quantile
from streams.stats.families.ratio import Ratio
from streams.stats.families.revenue import Revenue
from streams.stats.kinds import Contradiction, MetricKind

FAMILIES: Mapping[MetricKind, Family] = {
    family.kind: family
    for family in (Binary(), Count(), Revenue(), Continuous(), Ratio(), Quantile())
}
"""The families, in the order in which their kinds are inferred: the narrowest first."""


@dataclass(frozen=True, slots=True)
class FoundKind:
    """The kind to model a metric by.

    Attributes:
        kind: The declared kind; if undeclared or contradicted by the tallies, the one inferred from
            them.
        is_declared: Whether it is the declared one.
        contradiction: Why a declared kind is not used; None if it is, or if none was declared.
    """

    kind: MetricKind
    is_declared: bool
    contradiction: Contradiction | None


def find_kind(declared: MetricKind | None, variants: Sequence[VariantMetric]) -> FoundKind:
    """Return the kind of a metric: as declared, unless the tallies contradict it.

    A contradiction is a finding, not an error: the metric is modelled by the inferred kind, and the
    published statistics report it.

    Examples:
        >>> from streams.model.quantities import MICRO
        >>> from streams.tallies.cell import MetricTally
        >>> two = VariantMetric(9, MetricTally(1, 1, 2 * MICRO, 4 * MICRO**2))
        >>> find_kind(MetricKind.BINARY, [two]).contradiction.code.value
        'NOT_BINARY'
    """
    if declared is None:
        return FoundKind(infer_kind(variants), False, None)
    family = FAMILIES[declared]
    index = _first_refused(family, variants)
    if index is None or family.contradiction is None:
        return FoundKind(declared, True, None)
    return FoundKind(infer_kind(variants), False, Contradiction(family.contradiction, index))


def infer_kind(variants: Sequence[VariantMetric]) -> MetricKind:
    """Return the narrowest kind that the tallies of all variants allow.

    Sums can refute a kind and never prove it: three units with 0.5, 0.5 and 1 differ from counts
    by their squares, but rarely other values may have the sums of counts. The consequence of such a
    mistake is small, since every kind estimates mean and variance from the values. Without
    observations a metric is binary.
    """
    return next(
        family.kind
        for family in FAMILIES.values()
        if _first_refused(family, variants) is None and family.is_inferred(variants)
    )


def _first_refused(family: Family, variants: Sequence[VariantMetric]) -> int | None:
    """Return the index of the first variant whose tallies the family does not allow."""
    return next(
        (
            index
            for index, variant in enumerate(variants)
            if not (family.allows(variant.metric) and all(map(family.allows, variant.parts)))
        ),
        None,
    )
