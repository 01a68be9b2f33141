"""Slices to keep for the dimensions of an experiment."""

from __future__ import annotations

from streams.experiments.config import ExperimentConfig
from streams.tallies.plan import SlicePlan, pair_of


def sliced(config: ExperimentConfig, control: int = 0) -> SlicePlan:
    """Return the plan of the slices to keep.

    Args:
        config: Configuration of an experiment that has dimensions.
        control: Index of its control.
    """
    metrics: set[str] = set()
    pairs = set()
    for name in config.sliced_metrics:
        components = config.spec(name).components
        metrics.update(components or (name,))
        if components is not None:
            pairs.add(pair_of(*components))
    return SlicePlan(
        tuple(1 + len(dimension.values) for dimension in config.dimensions),
        frozenset(metrics),
        tuple(sorted(pairs)),
        control,
    )
