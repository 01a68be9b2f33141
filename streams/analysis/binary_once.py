"""Metrics with observations of 0 and 1 only: a unit that clicks twice has converted once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from streams.experiments.config import ExperimentConfig
from streams.model.quantities import MICRO
from streams.stats.kinds import MetricKind
from streams.tallies.cell import VariantTally


def once_metrics(config: ExperimentConfig, variants: Sequence[VariantTally]) -> list[str]:
    """Return the binary metrics that were observed repeatedly for some unit.

    Binary are metrics that are declared `binary` and not summed, and metrics without declared kind,
    floor and cap whose observations are all 0 or 1: a second click of a unit would otherwise turn a
    conversion rate into a count. Components of ratios stay sums, as their products are.

    Args:
        config: The configuration.
        variants: The tallies.
    """
    return sorted(set(_read_once(config, variants)))


def read_once(
    config: ExperimentConfig, variants: Sequence[VariantTally], names: Sequence[str]
) -> list[VariantTally]:
    """Return tallies in which the units of some metrics have the value 0 or 1.

    Args:
        config: The configuration.
        variants: The tallies, or those of some of their units.
        names: Result of `once_metrics` for the tallies.
    """
    if not names:
        return list(variants)
    return [
        replace(
            variant,
            metrics=dict(variant.metrics)
            | {name: variant.metrics[name].once() for name in names if name in variant.metrics},
            periods={period: each.once() for period, each in variant.periods.items()}
            if config.primary_metric in names
            else variant.periods,
        )
        for variant in variants
    ]


def _read_once(config: ExperimentConfig, variants: Sequence[VariantTally]) -> Iterator[str]:
    """Yield the names of binary metrics that were observed repeatedly for some unit."""
    parts = {part for spec in config.metrics.values() for part in spec.components or ()}
    for name in {name for variant in variants for name in variant.metrics}:
        spec = config.spec(name)
        is_bounded = any(each is not None for each in (spec.floor, spec.cap, spec.winsorize))
        if name in parts or is_bounded or spec.model_kind not in {None, MetricKind.BINARY}:
            continue
        tallies = [variant.metrics[name] for variant in variants if name in variant.metrics]
        is_once = all(tally.total_squared == tally.total * MICRO for tally in tallies)
        if not is_once and all(tally.is_binary for tally in tallies):
            yield name
