"""Codec of `snapshot`: the published state of an experiment, in Kafka and in Redis."""

from __future__ import annotations

from functools import lru_cache

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec, Record
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.definition_versions import unused
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.promotion_state import Promotion
from streams.experiments.roster import Roster
from streams.experiments.schedule import ScheduleEvent
from streams.experiments.served import Served
from streams.experiments.snapshot import Allocation, PublishedModel, Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.model.ids import experiment_id, experiment_number
from streams.model.published import avro_record, from_avro
from streams.model.validation import parse
from streams.wire.records import (
    INT_LIMIT,
    LONG_LIMIT,
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
        "changed_version": experiment.changed_version,
        "history": [avro_record(event) for event in experiment.history],
        "promotion": None if experiment.promotion is None else avro_record(experiment.promotion),
        "served": None if experiment.served is None else avro_record(experiment.served),
        "roster": None if experiment.roster is None else avro_record(experiment.roster),
    }


@lru_cache(maxsize=1_024)  # one experiment is published many times a second, and rarely redefined
def _definition(text: str) -> ExperimentDefinition:
    return parse(ExperimentDefinition, json_object(text, "definition"), "definition")


def _experiment(record: Record) -> Experiment:
    promotion, served, roster = record["promotion"], record["served"], record["roster"]
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
        changed_version=record["changed_version"],
        history=tuple(from_avro(ScheduleEvent, each, "history") for each in record["history"]),
        promotion=None if promotion is None else from_avro(Promotion, promotion, "promotion"),
        served=None if served is None else from_avro(Served, served, "served"),
        roster=None if roster is None else from_avro(Roster, roster, "roster"),
    )


def serving_state(snapshot: Snapshot) -> Record:
    """Return what assigning needs of a snapshot, as JSON: all but the statistics."""
    model = None if snapshot.model is None else avro_record(snapshot.model)
    return {
        "experiment": _experiment_record(snapshot.experiment),
        "version": snapshot.version,
        "allocation": avro_record(snapshot.allocation),
        "winner": snapshot.winner,
        "as_of_ms": snapshot.as_of_ms,
        "model": model,
    }


def read_serving_state(state: Record) -> Snapshot:
    """Return the snapshot of a `serving_state`, without statistics.

    Raises:
        EventError: a field is missing or invalid, or of a later version than this one.
    """
    with event_errors():
        model = state["model"]
        return Snapshot(
            experiment=_experiment(state["experiment"]),
            version=check_range(state["version"], 0, LONG_LIMIT, "version"),
            allocation=from_avro(Allocation, state["allocation"], "allocation"),
            variants=(),
            winner=state["winner"],
            confidence=0.0,
            recommended_action=RecommendedAction.CONTINUE,
            reason_code=ReasonCode.NOT_STARTED,
            duplicates=0,
            cells=(),
            as_of_ms=check_range(state["as_of_ms"], 0, LONG_LIMIT, "as_of_ms"),
            model=None if model is None else from_avro(PublishedModel, model, "model"),
        )
