"""Snapshots as JSON values: the shapes are those of `experiment_streams_client.results`."""

from __future__ import annotations

from typing import Any

from api.http.models import responses
from streams.analysis.evidence_json import evidence_json, failure_json, metrics_json
from streams.analysis.misspelled_metrics import misspelt_metrics
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import AgainstControl, MetricReport, Snapshot
from streams.model.quantities import ALLOCATION_TOTAL

JsonObject = dict[str, Any]

_NO_DENOMINATOR = {
    "code": "NO_DENOMINATOR",
    "message": "the denominator of this variant sums to 0: there is no ratio yet",
}


def experiment_response(experiment: Experiment) -> responses.Experiment:
    """Return the response for an experiment, with all defaults of its definition filled in."""
    definition = experiment.definition
    winner = experiment.winner
    return responses.Experiment(
        id=experiment.id,
        status=experiment.status,
        version=experiment.version,
        config=definition.config.model_dump(by_alias=True, mode="json"),
        variants=tuple(
            responses.Variant(
                id=experiment.variant_id(index),
                name=variant.name,
                is_control=variant.is_control,
                weight=variant.weight,
                config=variant.config,
            )
            for index, variant in enumerate(definition.variants)
        ),
        created_at=experiment.created_at_ms,
        started_at=experiment.started_at_ms,
        concluded_at=experiment.concluded_at_ms,
        winner_variant_id=None if winner is None else experiment.variant_id(winner),
        promotion=_promotion(experiment),
    )


def stats_payload(snapshot: Snapshot) -> JsonObject:
    """Return what is known of an experiment as a whole; `variant_payload` has the rest.

    Counts, recommendation, and what it follows from.
    """
    experiment = snapshot.experiment
    config = experiment.definition.config
    return {
        "experimentId": experiment.id,
        "name": config.name,
        "type": config.type,
        "unit": config.unit,
        "status": experiment.status,
        "primaryMetric": config.primary_metric,
        "version": snapshot.version,
        "asOf": snapshot.as_of_ms,
        "totalAssignments": sum(report.assignments for report in snapshot.variants),
        "totalObservations": sum(report.observations for report in snapshot.variants),
        "duplicates": snapshot.duplicates,
        "winner": _winner(snapshot),
        "confidence": snapshot.confidence,
        "recommendedAction": snapshot.recommended_action,
        "reason": snapshot.reason,
        "metrics": metrics_json(snapshot),
        "evidence": _evidence(snapshot),
        "features": [
            {
                "name": use.name,
                "units": use.units,
                "unknownUnits": use.unknown,
                "unknownShare": use.unknown / use.units if use.units else 0.0,
            }
            for use in snapshot.features
        ],
        "misspelt": [
            {
                "metric": found.metric,
                "observed": found.observed,
                "observations": found.observations,
            }
            for found in misspelt_metrics(snapshot)
        ],
        "failure": None if snapshot.failure is None else failure_json(snapshot.failure),
    }


def variant_payload(snapshot: Snapshot, index: int) -> JsonObject:
    """Return what is known of one variant."""
    variant = snapshot.experiment.definition.variants[index]
    return {
        "id": snapshot.experiment.variant_id(index),
        "name": variant.name,
        "isControl": variant.is_control,
        "config": variant.config,
        "stats": _statistics(snapshot, index),
    }


def _evidence(snapshot: Snapshot) -> JsonObject | None:
    found = evidence_json(snapshot)
    return None if found is None else {"sinceConclusion": None} | found


def _promotion(experiment: Experiment) -> responses.Promotion | None:
    found = experiment.promotion
    if found is None:
        return None
    return responses.Promotion(
        variant_id=experiment.variant_id(found.variant),
        control_share=found.control_weight / ALLOCATION_TOTAL,
        is_automatic=found.is_automatic,
        rolled_back_at=found.began_at_ms if found.is_rolled_back else None,
    )


def _statistics(snapshot: Snapshot, index: int) -> JsonObject:
    report = snapshot.variants[index]
    mean, lower, upper = snapshot.primary_mean(index)
    return {
        "assignments": report.assignments,
        "observations": report.observations,
        "mean": mean,
        "lower": lower,
        "upper": upper,
        "probabilityBest": report.probability_best,
        "expectedLoss": report.expected_loss,
        "allocation": snapshot.allocation.weights[index] / ALLOCATION_TOTAL,
        "metrics": {metric.name: _metric(metric) for metric in report.metrics},
    }


def _metric(report: MetricReport) -> JsonObject:
    return {
        "kind": report.kind,
        "units": report.units,
        "observations": report.observations,
        "sumMicro": report.total,
        "mean": report.mean if report.is_defined else None,
        "lower": report.lower if report.is_defined else None,
        "upper": report.upper if report.is_defined else None,
        "undefined": None if report.is_defined else dict(_NO_DENOMINATOR),
        "againstControl": None
        if report.against_control is None
        else _against_control(report.against_control),
    }


def _against_control(found: AgainstControl) -> JsonObject:
    return {
        "probabilityBetter": found.probability_better,
        "expectedLoss": found.expected_loss,
        "difference": found.difference,
        "differenceLower": found.difference_lower,
        "differenceUpper": found.difference_upper,
        "relative": found.relative,
        "relativeLower": found.relative_lower,
        "relativeUpper": found.relative_upper,
        "pValue": found.p_value,
    }


def _winner(snapshot: Snapshot) -> JsonObject | None:
    if snapshot.winner is None:
        return None
    return {
        "id": snapshot.experiment.variant_id(snapshot.winner),
        "name": snapshot.experiment.definition.variants[snapshot.winner].name,
    }
