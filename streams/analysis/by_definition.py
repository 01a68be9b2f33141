"""Conversion of evidence from active variants to the variants of the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from streams.analysis.inputs import Inputs
from streams.analysis.metric_analysis import Analysis
from streams.experiments.statistics.evidence import Evidence
from streams.stats.sample import Sample

ValueT = TypeVar("ValueT")


def by_definition(inputs: Inputs, analysis: Analysis, evidence: Evidence) -> Evidence:
    """Return evidence whose variants are those of the definition.

    A stopped variant keeps its counts; nothing is compared with it.

    Args:
        inputs: Inputs of the evaluation.
        analysis: Analysis of its metrics.
        evidence: Evidence that compares the active variants only. Sample ratio, excluded units and
            data since the conclusion already refer to all variants.
    """
    active = inputs.trial.indices
    if len(active) == len(inputs.experiment.definition.variants):
        return evidence
    primary = {
        index: metrics[inputs.config.primary_metric] for index, metrics in analysis.stopped.items()
    }

    def of_all(values: Sequence[ValueT], of_stopped: dict[int, ValueT]) -> tuple[ValueT, ...]:
        found = dict(zip(active, values, strict=True)) | of_stopped
        return tuple(found[index] for index in sorted(found))

    assigned = {index: _counts(metric.assigned[1]) for index, metric in primary.items()}
    compared = {index: _counts(metric.samples[1]) for index, metric in primary.items()}
    maturity = evidence.maturity
    if maturity is not None:
        maturity = replace(
            maturity,
            units=of_all(maturity.units, {i: units for i, (units, _) in compared.items()}),
            units_with_value=of_all(
                maturity.units_with_value, {i: units for i, (_, units) in compared.items()}
            ),
        )
    return replace(
        evidence,
        leader=active[evidence.leader],
        units=of_all(evidence.units, {i: units for i, (units, _) in assigned.items()}),
        units_with_value=of_all(
            evidence.units_with_value, {i: units for i, (_, units) in assigned.items()}
        ),
        units_needed=of_all(evidence.units_needed, dict.fromkeys(primary, 0)),
        comparisons=tuple(
            replace(each, variant=active[each.variant]) for each in evidence.comparisons
        ),
        guardrails=tuple(
            replace(each, variant=active[each.variant]) for each in evidence.guardrails
        ),
        maturity=maturity,
    )


def _counts(sample: Sample) -> tuple[int, int]:
    return round(sample.units), round(sample.units_with_value)
