"""From what is declared of the metrics to what is kept of the units."""

from __future__ import annotations

from streams.domain.quantities import MICRO
from streams.experiments.definition import ExperimentConfig
from streams.tallies.plan import Plan, pair_of


def plan_of(config: ExperimentConfig) -> Plan:
    """Return the measurement plan of an experiment.

    No update changes it: `ExperimentUpdate` has no field that it depends on.
    """
    caps = {
        name: round(spec.cap * MICRO)
        for name, spec in sorted(config.metrics.items())
        if spec.cap is not None
    }
    ratios = (spec.components for spec in config.metrics.values())
    pairs = {pair_of(*components) for components in ratios if components is not None}
    by_period = None if config.periods is None else config.primary_metric
    return Plan(caps, tuple(sorted(pairs)), by_period)
