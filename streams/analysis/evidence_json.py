"""Evidence as JSON: what the statistics of the API and the log of decisions say of an action."""

from __future__ import annotations

from typing import Any

from streams.analysis.promotion import obstacles
from streams.experiments.metrics import MetricRole
from streams.experiments.snapshot import (
    Comparison,
    Failure,
    GuardrailFinding,
    MetricModel,
    Miscounts,
    SinceConclusion,
    Snapshot,
)

JsonObject = dict[str, Any]


def evidence_json(snapshot: Snapshot) -> JsonObject | None:
    """Return the evidence of a snapshot, variants by their ids; None if it has none."""
    found = snapshot.evidence
    if found is None:
        return None
    names = [snapshot.experiment.variant_id(index) for index in range(len(snapshot.variants))]
    ratio = found.sample_ratio
    return {
        "leader": names[found.leader],
        "probabilityBest": found.probability_best,
        "expectedLoss": found.expected_loss,
        "relativeLoss": found.relative_loss,
        "valueRemaining": found.value_remaining,
        "error": found.error,
        "plannedUnits": found.planned_units,
        "units": dict(zip(names, found.units, strict=True)),
        "unitsWithValue": dict(zip(names, found.units_with_value, strict=True)),
        "negligible": found.negligible,
        "durationMs": found.duration_ms,
        "comparisons": [_comparison(each, names) for each in found.comparisons],
        "sampleRatio": {
            "pValue": ratio.p_value,
            "isMismatch": ratio.is_mismatch,
            "ratios": dict(zip(names, ratio.ratios, strict=True)),
        },
        "guardrails": [_guardrail(each, names) for each in found.guardrails],
        "promotionObstacles": [obstacle.value for obstacle in obstacles(snapshot)],
        "miscounts": _miscounts(found.miscounts),
        "sinceConclusion": _since_conclusion(snapshot, found.since_conclusion, names),
    }


def failure_json(failure: Failure) -> JsonObject:
    """Return why the statistics of a snapshot are older than it is."""
    return {
        "code": failure.code,
        "error": failure.error,
        "message": failure.message,
        "statisticsVersion": failure.statistics_version,
    }


def metrics_json(snapshot: Snapshot) -> JsonObject:
    """Return how every metric was read, by name."""
    config = snapshot.experiment.definition.config
    periods = None if config.periods is None else config.periods.model_dump(by_alias=True)
    return {
        model.name: _model(model)
        | {"periods": periods if model.role is MetricRole.PRIMARY else None}
        for model in snapshot.metrics
    }


def _comparison(found: Comparison, names: list[str]) -> JsonObject:
    return {
        "variantId": names[found.variant],
        "lower": found.lower,
        "upper": found.upper,
        "pValue": found.p_value,
    }


def _guardrail(found: GuardrailFinding, names: list[str]) -> JsonObject:
    return {
        "metric": found.metric,
        "variantId": names[found.variant],
        "toleratedHarm": found.tolerated_harm,
        "harm": found.harm,
        "pValue": found.p_value,
        "isTripped": found.is_tripped,
    }


def _miscounts(found: Miscounts) -> JsonObject:
    return {
        "unrememberedUnits": found.unremembered_units,
        "unrememberedObservations": found.unremembered_observations,
        "isMemoryFull": found.is_memory_full,
        "unitsInSeveralVariants": found.crossed_units,
        "isInSeveralVariants": found.is_crossed,
        "mostEvents": found.most_events,
        "fullUnits": found.full_units,
        "isHeavy": found.is_heavy,
    }


def _since_conclusion(
    snapshot: Snapshot, found: SinceConclusion | None, names: list[str]
) -> JsonObject | None:
    if found is None:
        return None
    control = snapshot.experiment.definition.control_index
    return {
        "variantId": names[found.variant],
        "units": {names[found.variant]: found.units, names[control]: found.control_units},
        "guardrails": [_guardrail(each, names) for each in found.guardrails],
    }


def _model(model: MetricModel) -> JsonObject:
    found = model.contradiction
    return {
        "role": model.role.value,
        "direction": model.direction.value,
        "kind": model.kind.value,
        "isDeclared": model.is_declared,
        "contradiction": None if found is None else {"code": found.code, "message": found.message},
    }
