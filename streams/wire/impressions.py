"""Impression batches: columns of integers, one group an experiment."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from schemas.codec import Codec, Record
from streams.domain.errors import EventError, InvalidParameterError
from streams.domain.events import ImpressionBatch, ImpressionGroup
from streams.domain.ids import experiment_id, experiment_number
from streams.domain.quantities import PROPENSITY_ONE
from streams.wire.records import (
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    incarnation,
    incarnation_text,
    read,
)

_INT_LIMIT = 1 << 31
_LONG_LIMIT = 1 << 63
_VARIANT_LIMIT = 1 << 16
_VERSION_LIMIT = 1 << 48


def encode_impression_batch(batch: ImpressionBatch, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a batch of impressions.

    Raises:
        InvalidParameterError: the columns of a group differ in length.
    """
    record = {
        "incarnation": incarnation_text(batch.incarnation),
        "partition": batch.partition,
        "sequence": batch.sequence,
        "groups": [_group_record(group) for group in batch.groups],
    }
    return codec.encode("impression_batch", record)


def decode_impression_batch(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> ImpressionBatch:
    """Return the batch of impressions in a Kafka record.

    Raises:
        EventError: it cannot be read, its columns differ in length (`UNEQUAL_COLUMNS`), or a number
            is outside its bounds (`OUT_OF_RANGE`). Only our own processes write these records, so
            one bad impression condemns its batch.
    """
    record = read("impression_batch", value, codec)
    with event_errors():
        return ImpressionBatch(
            incarnation(record["incarnation"]),
            check_range(record["partition"], 0, _INT_LIMIT, "partition"),
            check_range(record["sequence"], 0, _LONG_LIMIT, "sequence"),
            [_group(index, group) for index, group in enumerate(record["groups"])],
        )


def _group_record(group: ImpressionGroup) -> Record:
    if not _is_rectangular(group):
        raise InvalidParameterError("group", experiment_id(group.experiment), "of equal columns")
    return {
        "experiment_id": experiment_id(group.experiment),
        "repeatable": group.repeatable,
        "variants": group.variants,
        "propensities": group.propensities,
        "allocation_versions": group.allocation_versions,
        "assigned_at_ms": group.assigned_at_ms,
        "units": _recast("Q", "q", group.units),
        "contexts": group.contexts,
    }


def _group(index: int, record: Record) -> ImpressionGroup:
    path = f"groups[{index}]"
    group = ImpressionGroup(
        experiment=experiment_number(record["experiment_id"]),
        repeatable=record["repeatable"],
        variants=record["variants"],
        propensities=record["propensities"],
        allocation_versions=record["allocation_versions"],
        assigned_at_ms=record["assigned_at_ms"],
        units=_recast("q", "Q", record["units"]),
        contexts=record["contexts"],
    )
    if not _is_rectangular(group):
        raise EventError("UNEQUAL_COLUMNS", "the columns of a group must be of equal length", path)
    _check_column(group.variants, 0, _VARIANT_LIMIT, f"{path}.variants")
    _check_column(group.propensities, 1, PROPENSITY_ONE + 1, f"{path}.propensities")
    _check_column(group.allocation_versions, 0, _VERSION_LIMIT, f"{path}.allocation_versions")
    _check_column(group.assigned_at_ms, 0, TIME_LIMIT_MS, f"{path}.assigned_at_ms")
    return group


def _is_rectangular(group: ImpressionGroup) -> bool:
    lengths = {
        len(group.variants),
        len(group.propensities),
        len(group.allocation_versions),
        len(group.assigned_at_ms),
        len(group.units),
        len(group.contexts) or len(group.units),
    }
    return len(lengths) == 1


def _check_column(column: Sequence[int], low: int, high: int, path: str) -> None:
    if column:
        check_range(min(column), low, high, path)
        check_range(max(column), low, high, path)


def _recast(source: str, target: str, column: Sequence[int]) -> list[int]:
    """Return a column with the bits of its numbers read as another type; Avro has no unsigned."""
    return array(target, array(source, column).tobytes()).tolist()
