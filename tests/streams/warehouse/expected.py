"""Totals that an export of a log must have, by the engine's own evaluation of it."""

from __future__ import annotations

from typing import Any

from streams.kafka.records import LogSource
from streams.replay.what_if import Assumptions, what_if
from streams.stats.kinds import MetricKind
from tests.streams.warehouse.worlds import CONFIGS, WORLD_INPUTS

VARIANT_TOTALS = (
    "SELECT variant_id, assignments, exposures, observations FROM variant_totals "
    "WHERE phase = 'trial' AND (assignments <> 0 OR exposures <> 0 OR observations <> 0)"
)
METRIC_TOTALS = (
    "SELECT variant_id, metric, units, observations, CAST(value_sum * 1000000 AS BIGINT) "
    "FROM metric_totals WHERE phase = 'trial'"
)


def totals(source: LogSource) -> tuple[set[Any], set[Any]]:
    """Return what both queries must answer; zeros are no rows."""
    variants, metrics = set(), set()
    for number in CONFIGS:
        found = what_if(source, WORLD_INPUTS, number, Assumptions()).actual
        for index, variant in enumerate(found.variants):
            name = found.experiment.variant_id(index)
            counts = variant.assignments, variant.exposures or 0, variant.observations
            if any(counts):
                variants.add((name, *counts))
            for metric, report in variant.metrics.items():
                if report.kind is not MetricKind.RATIO and report.observations:
                    sums = report.units, report.observations, report.sum_micro
                    metrics.add((name, metric, *sums))
    return variants, metrics
