"""Metrics that are capped at a percentile of the values that came.

The cap is the end of the bin in which the percentile of the values above 0 lies, of the units of
all variants together: one cap for all, read off the tallies, so it does not depend on the order of
the units. What is compared are the means of the values up to it. The cap moves while units come,
and settles, since a percentile does: the comparison is the one that a cap declared at the
percentile would have, from then on, and until then one of a few caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.model.quantities import MICRO
from streams.tallies.bins import BIN_FIELDS, WINSORIZED_PRECISION, BinTally, end_of
from streams.tallies.cell import METRIC_FIELDS, MetricTally, VariantTally
from streams.tallies.fields import Statistic

# Sums that a cap changes, by those of the bins that it takes away, and the power of the cap that it
# puts in their place. A surplus is a value less 1, and a capped unit stays above 0.
_CHANGED = {
    Statistic.VALUE: (Statistic.VALUE, 1),
    Statistic.SQUARE: (Statistic.SQUARE, 2),
    Statistic.CUBE: (Statistic.CUBE, 3),
    Statistic.SURPLUS: (Statistic.VALUE, 1),
}
_NOTHING = MetricTally()


@dataclass(frozen=True, slots=True)
class EstimatedCap:
    """Cap of a metric at a percentile of its values.

    Attributes:
        last: Last bin of which all values are kept as they are.
    """

    last: int

    @classmethod
    def of(
        cls, variants: Sequence[VariantTally], metric: str, percentile: float
    ) -> EstimatedCap | None:
        """Return the cap; None without a value above 0.

        Args:
            variants: Tallies of all variants.
            metric: Name of a metric of which values are kept by bin.
            percentile: In (0, 1).
        """
        units: dict[int, int] = {}
        for variant in variants:
            for number, tally in variant.bins.get(metric, {}).items():
                if number:
                    units[number] = units.get(number, 0) + tally.units
        wanted, seen = percentile * sum(units.values()), 0
        for number, count in sorted(units.items()):
            seen += count
            if seen >= wanted:
                return cls(number)
        return None

    @property
    def cap(self) -> int:
        """The cap, in micro-units."""
        return end_of(self.last, WINSORIZED_PRECISION)

    @property
    def value(self) -> float:
        """The cap in units of the metric."""
        return self.cap / MICRO

    def capped(self, variants: Sequence[VariantTally], metric: str) -> tuple[MetricTally, ...]:
        """Return the tallies of the metric as if the cap had been declared."""
        return tuple(self._capped(variant, metric) for variant in variants)

    def _capped(self, variant: VariantTally, name: str) -> MetricTally:
        metric = variant.metrics.get(name, _NOTHING)
        above = BinTally()
        for number, tally in variant.bins.get(name, {}).items():
            if number > self.last:
                above = above + tally
        if not above.units:
            return metric
        sums = BIN_FIELDS.by_use(above)
        capped = {}
        for each in METRIC_FIELDS.sums:
            if each.statistic in _CHANGED:
                statistic, power = _CHANGED[each.statistic]
                units = sums[Statistic.UNITS, each.weight]
                taken = sums[statistic, each.weight] - self.cap**power * units
                capped[each.name] = getattr(metric, each.name) - taken
        return replace(metric, **capped)


def values_of(
    variants: Sequence[VariantTally], metric: str, cap: EstimatedCap | None
) -> tuple[MetricTally, ...]:
    """Return the tallies of a metric: up to its cap, or as counted if it has none."""
    if cap is None:
        return tuple(variant.metrics.get(metric, _NOTHING) for variant in variants)
    return cap.capped(variants, metric)
