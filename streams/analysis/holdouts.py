"""Evaluation of a holdout: every observed metric is compared like a primary one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.metric_model import MetricRole


def with_all_metrics(snapshot: Snapshot, evaluated: Callable[[Experiment], Snapshot]) -> Snapshot:
    """Return a snapshot of a holdout in which every metric is compared.

    The metrics depend on the experiments that it covers, and are unknown at its start. Each
    comparison has its own error level, without correction.

    Args:
        snapshot: Snapshot of the evaluation by its primary metric.
        evaluated: Evaluates the holdout with another definition on the same tally.
    """
    experiment = snapshot.experiment
    config = experiment.definition.config
    models = dict(snapshot.metrics)
    variants = list(snapshot.variants)
    for name in sorted(models.keys() - {config.primary_metric}):
        own = config.model_copy(update={"primary_metric": name})
        definition = experiment.definition.model_copy(update={"config": own})
        found = evaluated(replace(experiment, definition=definition))
        models[name] = replace(found.metrics[name], role=MetricRole.SECONDARY)
        variants = [
            replace(before, metrics={**before.metrics, name: after.metrics[name]})
            for before, after in zip(variants, found.variants, strict=True)
        ]
    return replace(snapshot, metrics=models, variants=tuple(variants))
