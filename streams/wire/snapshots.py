"""Codec of `snapshot`: the published state of an experiment, in Kafka and in Redis."""

from __future__ import annotations

from functools import lru_cache

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec, Record
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.definition_versions import unused
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Promotion
from streams.experiments.schedule import ScheduleEvent
from streams.experiments.served import Served
from streams.experiments.snapshot import Snapshot
from streams.model.ids import experiment_id, experiment_number
from streams.model.published import avro_record, from_avro
from streams.model.validation import parse
from streams.wire.records import (
    INT_LIMIT,
    SINGLE_OBJECT,
    check_range,
    event_errors,
    json_object,
    member,
    read,
)


def encode_snapshot(snapshot: Snapshot, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a snapshot; equal snapshots give equal bytes."""
    record = avro_record(snapshot, exclude={"experiment"})
    record["experiment"] = _experiment_record(snapshot.experiment)
    return codec.encode("snapshot", record)


def decode_snapshot(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> Snapshot:
    """Return the snapshot in a Kafka record or a Redis value.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("snapshot", value, codec, STATE_BYTES)
    with event_errors():
        record["experiment"] = _experiment(record["experiment"])
        return from_avro(Snapshot, record)


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
        "clock_ms": experiment.clock_ms,
        "peak_traffic": experiment.peak_traffic,
        "lowered_version": experiment.lowered_version,
        "history": [avro_record(event) for event in experiment.history],
        "promotion": None if experiment.promotion is None else avro_record(experiment.promotion),
        "served": None if experiment.served is None else avro_record(experiment.served),
    }


@lru_cache(maxsize=1_024)  # one experiment is published many times a second, and rarely redefined
def _definition(text: str) -> ExperimentDefinition:
    return parse(ExperimentDefinition, json_object(text, "definition"), "definition")


def _experiment(record: Record) -> Experiment:
    promotion, served = record["promotion"], record["served"]
    return Experiment(
        number=experiment_number(record["experiment_id"]),
        definition=_definition(record["definition"]),
        status=member(Status, record["status"], "status"),
        version=record["version"],
        created_at_ms=record["created_at_ms"],
        started_at_ms=record["started_at_ms"],
        started_version=record["started_version"],
        concluded_at_ms=record["concluded_at_ms"],
        winner=None
        if record["winner"] is None
        else check_range(record["winner"], 0, INT_LIMIT, "winner"),
        clock_ms=record["clock_ms"],
        peak_traffic=record["peak_traffic"],
        lowered_version=record["lowered_version"],
        history=tuple(from_avro(ScheduleEvent, each, "history") for each in record["history"]),
        promotion=None if promotion is None else from_avro(Promotion, promotion, "promotion"),
        served=None if served is None else from_avro(Served, served, "served"),
    )
