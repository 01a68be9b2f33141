"""Evaluation of a holdout: every observed metric is compared like a primary one.

The metrics depend on the experiments that it covers, and are unknown at its start. So a holdout is
evaluated once for each of them; every comparison has its own error level, without correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.metric_model import MetricRole
from streams.tallies.cell import Tally


def by_primary_metric(experiment: Experiment, tally: Tally) -> list[Experiment]:
    """Return an experiment; if it is a holdout, also with each other metric as the primary one.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells.
    """
    definition = experiment.definition
    config = definition.config
    if config.holdout is None:
        return [experiment]
    variants = range(len(definition.variants))
    observed = (tally.variants[index].metrics for index in variants if index in tally.variants)
    names = {*config.secondary_metrics, *config.guardrail_metrics}.union(*observed)
    return [experiment] + [
        replace(
            experiment,
            definition=definition.model_copy(
                update={"config": config.model_copy(update={"primary_metric": name})}
            ),
        )
        for name in sorted(names - {config.primary_metric})
    ]


def together(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Return the first of some snapshots, with the primary metric of each other one as compared.

    Args:
        snapshots: Evaluations of what `by_primary_metric` returns, in its order.
    """
    first, *others = snapshots
    models, variants = dict(first.metrics), first.variants
    for other in others:
        name = other.experiment.definition.config.primary_metric
        models[name] = replace(other.metrics[name], role=MetricRole.SECONDARY)
        variants = tuple(
            replace(before, metrics={**before.metrics, name: after.metrics[name]})
            for before, after in zip(variants, other.variants, strict=True)
        )
    return replace(first, metrics=models, variants=variants) if others else first
