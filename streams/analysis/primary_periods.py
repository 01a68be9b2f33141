"""The primary metric by period of assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from streams.experiments.config import ExperimentConfig
from streams.stats.nonstationary.periods import TimeWeights, read_periods
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally

_NONE = MetricTally()


@dataclass(frozen=True, eq=False)
class PrimaryPeriods:
    """The primary metric with units weighted by time; one entry per variant.

    Attributes:
        variants: Tallies with the periods that count.
        weights: Weights of the periods.
        now_ms: Time of the newest event.
    """

    variants: tuple[VariantTally, ...]
    weights: TimeWeights
    now_ms: int

    @classmethod
    def read(
        cls,
        config: ExperimentConfig,
        variants: Sequence[VariantTally],
        now_ms: int,
        *,
        are_shared: bool = False,
    ) -> PrimaryPeriods | None:
        """Read the primary metric by period.

        Args:
            config: The configuration.
            variants: The tallies.
            now_ms: Time of the newest event.
            are_shared: Whether only periods count in which all variants have units.

        Returns:
            None without weights by time: they are not declared, or some units were counted without
                their period, before the experiment was created or by another system, or outside all
                counted periods.
        """
        if config.periods is None:
            return None
        if not all(_is_complete(variant, config.primary_metric) for variant in variants):
            return None
        if are_shared:
            variants = _in_shared_periods(variants)
            if not variants[0].periods:
                return None
        return cls(tuple(variants), config.periods.time_weights, now_ms)

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Sums over the units weighted by period, for posteriors and policy."""
        return read_periods(self.variants, self.weights, self.now_ms)

    @cached_property
    def parts(self) -> tuple[tuple[MetricTally, ...], ...]:
        """Tallies of the periods."""
        return tuple(
            tuple(
                MetricTally(
                    units=each.units_with_value,
                    total=each.total,
                    total_squared=each.total_squared,
                )
                for each in variant.periods.values()
            )
            for variant in self.variants
        )


def _in_shared_periods(variants: Sequence[VariantTally]) -> list[VariantTally]:
    """Return tallies of the periods in which all variants have units."""
    shared = [
        period
        for period in variants[0].periods
        if all(period in each.periods and each.periods[period].units > 0 for each in variants)
    ]
    return [
        replace(each, periods={period: each.periods[period] for period in shared})
        for each in variants
    ]


def _is_complete(variant: VariantTally, metric: str) -> bool:
    units = sum(each.units for each in variant.periods.values())
    with_value = sum(each.units_with_value for each in variant.periods.values())
    return (units, with_value) == (variant.units, variant.metrics.get(metric, _NONE).units)
