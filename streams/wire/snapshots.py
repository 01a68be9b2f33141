"""Snapshots: what is published of an experiment, and what Redis holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec, Record
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.definition_versions import unused
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.metrics import MetricRole
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import (
    AgainstControl,
    Allocation,
    CellPlace,
    Comparison,
    Evidence,
    Failure,
    FeatureUse,
    GuardrailFinding,
    MetricModel,
    MetricReport,
    Miscounts,
    PublishedModel,
    RecommendedAction,
    SampleRatioFinding,
    SinceConclusion,
    Snapshot,
    VariantReport,
)
from streams.model.ids import experiment_id, experiment_number
from streams.model.validation import parse
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, ContradictionCode, MetricKind
from streams.wire.records import (
    SINGLE_OBJECT,
    check_range,
    event_errors,
    integer,
    integer_bytes,
    json_object,
    member,
    read,
)

_INT_LIMIT = 1 << 31


def encode_snapshot(snapshot: Snapshot, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a snapshot; equal snapshots give equal bytes."""
    record = {
        "experiment": _experiment_record(snapshot.experiment),
        "version": snapshot.version,
        "allocation": asdict(snapshot.allocation),
        "variants": [_variant_record(variant) for variant in snapshot.variants],
        "winner": snapshot.winner,
        "confidence": snapshot.confidence,
        "recommended_action": snapshot.recommended_action.value,
        "reason": snapshot.reason,
        "duplicates": snapshot.duplicates,
        "cells": [asdict(cell) for cell in snapshot.cells],
        "as_of_ms": snapshot.as_of_ms,
        "model": None if snapshot.model is None else _published_record(snapshot.model),
        "metrics": [_model_record(model) for model in snapshot.metrics],
        "evidence": None if snapshot.evidence is None else asdict(snapshot.evidence),
        "features": [asdict(use) for use in snapshot.features],
        "failure": None if snapshot.failure is None else asdict(snapshot.failure),
    }
    return codec.encode("snapshot", record)


def decode_snapshot(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> Snapshot:
    """Return the snapshot in a Kafka record or a Redis value.

    Raises:
        EventError: it cannot be read, or a field of it cannot be used.
    """
    record = read("snapshot", value, codec, STATE_BYTES)
    with event_errors():
        for number in _narrow_integers(record):
            check_range(number, -_INT_LIMIT, _INT_LIMIT, "snapshot")
        return Snapshot(
            experiment=_experiment(record["experiment"]),
            version=record["version"],
            allocation=Allocation(
                record["allocation"]["version"], tuple(record["allocation"]["weights"])
            ),
            variants=tuple(_variant(variant) for variant in record["variants"]),
            winner=record["winner"],
            confidence=record["confidence"],
            recommended_action=member(
                RecommendedAction, record["recommended_action"], "recommended_action"
            ),
            reason=record["reason"],
            duplicates=record["duplicates"],
            cells=tuple(CellPlace(**cell) for cell in record["cells"]),
            as_of_ms=record["as_of_ms"],
            model=None if record["model"] is None else _published_model(record["model"]),
            metrics=tuple(map(_metric_model, record["metrics"])),
            evidence=None if record["evidence"] is None else _evidence(record["evidence"]),
            features=tuple(FeatureUse(**use) for use in record["features"]),
            failure=None if record["failure"] is None else Failure(**record["failure"]),
        )


def _narrow_integers(record: Record) -> Iterator[int]:
    """Yield what the schema has as 32 bits: a reader takes more, and no writer could write it."""
    experiment, evidence = record["experiment"], record["evidence"]
    numbers = [record["winner"], experiment["winner"], *record["allocation"]["weights"]]
    numbers += [cell["partition"] for cell in record["cells"]]
    found = [metric["contradiction"] for metric in record["metrics"]]
    if experiment["promotion"] is not None:
        found.append(experiment["promotion"])
        numbers.append(experiment["promotion"]["control_weight"])
    if evidence is not None:
        since = evidence["since_conclusion"]
        numbers.append(evidence["leader"])
        found += [*evidence["comparisons"], *evidence["guardrails"], since]
        found += since["guardrails"] if since is not None else []
    numbers += [each["variant"] for each in found if each is not None]
    return (number for number in numbers if number is not None)


def _experiment_record(experiment: Experiment) -> Record:
    return {
        "experiment_id": experiment_id(experiment.number),
        "definition": experiment.definition.model_dump_json(
            by_alias=True, exclude=unused(experiment.definition)
        ),
        "status": experiment.status.value,
        "version": experiment.version,
        "created_at_ms": experiment.created_at_ms,
        "started_at_ms": experiment.started_at_ms,
        "started_version": experiment.started_version,
        "concluded_at_ms": experiment.concluded_at_ms,
        "winner": experiment.winner,
        "planned_units": experiment.planned_units,
        "promotion": None if experiment.promotion is None else asdict(experiment.promotion),
    }


@lru_cache(maxsize=1_024)  # one experiment is published many times a second, and rarely redefined
def _definition(text: str) -> ExperimentDefinition:
    return parse(ExperimentDefinition, json_object(text, "definition"), "definition")


def _experiment(record: Record) -> Experiment:
    promotion = record["promotion"]
    return Experiment(
        number=experiment_number(record["experiment_id"]),
        definition=_definition(record["definition"]),
        status=member(Status, record["status"], "status"),
        version=record["version"],
        created_at_ms=record["created_at_ms"],
        started_at_ms=record["started_at_ms"],
        started_version=record["started_version"],
        concluded_at_ms=record["concluded_at_ms"],
        winner=record["winner"],
        planned_units=record["planned_units"],
        promotion=None if promotion is None else Promotion(**promotion),
    )


def _published_record(model: PublishedModel) -> Record:
    # `asdict` would copy every number of them, which takes longer than all the rest.
    return {
        "noise": model.noise,
        "units": model.units,
        "coefficients": model.coefficients,
        "triangles": model.triangles,
    }


def _published_model(record: Record) -> PublishedModel:
    return PublishedModel(
        record["noise"],
        record["units"],
        tuple(map(tuple, record["coefficients"])),
        tuple(map(tuple, record["triangles"])),
    )


def _variant_record(report: VariantReport) -> Record:
    return {
        "assignments": report.assignments,
        "observations": report.observations,
        "mean": report.mean,
        "lower": report.lower,
        "upper": report.upper,
        "probability_best": report.probability_best,
        "expected_loss": report.expected_loss,
        "metrics": [
            asdict(metric) | {"total": integer_bytes(metric.total)} for metric in report.metrics
        ],
    }


def _variant(record: Record) -> VariantReport:
    return VariantReport(**record | {"metrics": tuple(map(_metric, record["metrics"]))})


def _metric(record: Record) -> MetricReport:
    against = record["against_control"]
    return MetricReport(
        **record
        | {
            "kind": member(MetricKind, record["kind"], "kind"),
            "total": integer(record["total"], "total"),
            "against_control": None if against is None else AgainstControl(**against),
        }
    )


def _model_record(model: MetricModel) -> Record:
    found = model.contradiction
    message = {} if found is None else {"contradiction": asdict(found) | {"message": found.message}}
    return asdict(model) | message


def _metric_model(record: Record) -> MetricModel:
    found = record["contradiction"]
    return MetricModel(
        **record
        | {
            "role": member(MetricRole, record["role"], "role"),
            "direction": member(Direction, record["direction"], "direction"),
            "kind": member(MetricKind, record["kind"], "kind"),
            "contradiction": None
            if found is None
            else Contradiction(
                member(ContradictionCode, found["code"], "contradiction"), found["variant"]
            ),
        }
    )


def _evidence(record: Record) -> Evidence:
    ratio = record["sample_ratio"]
    return Evidence(
        **record
        | {
            "units": tuple(record["units"]),
            "units_with_value": tuple(record["units_with_value"]),
            "comparisons": tuple(Comparison(**each) for each in record["comparisons"]),
            "sample_ratio": SampleRatioFinding(**ratio | {"ratios": tuple(ratio["ratios"])}),
            "guardrails": _guardrails(record["guardrails"]),
            "since_conclusion": _since_conclusion(record["since_conclusion"]),
            "miscounts": Miscounts(**record["miscounts"]),
        }
    )


def _since_conclusion(record: Record | None) -> SinceConclusion | None:
    if record is None:
        return None
    return SinceConclusion(**record | {"guardrails": _guardrails(record["guardrails"])})


def _guardrails(records: Sequence[Record]) -> tuple[GuardrailFinding, ...]:
    return tuple(GuardrailFinding(**each) for each in records)
