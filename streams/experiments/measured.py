"""From what is declared of the metrics to what is kept of the units."""

from __future__ import annotations

from streams.domain.quantities import MICRO
from streams.experiments.definition import ExperimentDefinition
from streams.tallies.plan import PeriodPlan, Plan, pair_of


def plan_of(definition: ExperimentDefinition) -> Plan:
    """Return the measurement plan of an experiment.

    No update changes it: `ExperimentUpdate` has no field that it depends on.
    """
    config = definition.config
    caps = {
        name: round(spec.cap * MICRO)
        for name, spec in sorted(config.metrics.items())
        if spec.cap is not None
    }
    ratios = (spec.components for spec in config.metrics.values())
    pairs = {pair_of(*components) for components in ratios if components is not None}
    kept = PeriodPlan(config.primary_metric, len(definition.variants))
    return Plan(caps, tuple(sorted(pairs)), None if config.periods is None else kept)
