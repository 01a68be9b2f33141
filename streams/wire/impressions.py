"""Codec of `impression_batch`: columns of integers, grouped by experiment."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, compress

from schemas.codec import Codec, Record
from streams.model.errors import EventError, InvalidParameterError, quoted
from streams.model.events import ImpressionBatch, ImpressionGroup, OutsideRequests
from streams.model.ids import experiment_id, experiment_number
from streams.model.quantities import PROPENSITY_ONE
from streams.wire.batch_tags import BLANK_TAG
from streams.wire.records import (
    INT_LIMIT,
    LONG_LIMIT,
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    incarnation,
    incarnation_text,
    read,
)

_VARIANT_LIMIT = 1 << 16
_VERSION_LIMIT = 1 << 48
_REQUESTS_LIMIT = 1 << 48

_is_reason = re.compile(r"[A-Z_]{1,40}").fullmatch
_RUNS = (
    "experiment_ids",
    "repeatable",
    "with_contexts",
    "with_features",
    "weight_sizes",
    "with_dimensions",
)


def encode_impression_batch(batch: ImpressionBatch, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a batch of impressions, to be sealed by `batch_tags`.

    Raises:
        InvalidParameterError: the columns of a group differ in length.
    """
    groups = batch.groups
    for group in groups:
        _check_rectangular(group)
    units = array("Q", chain.from_iterable([group.units for group in groups]))
    record = {
        "incarnation": incarnation_text(batch.incarnation),
        "partition": batch.partition,
        "sequence": batch.sequence,
        "experiment_ids": [experiment_id(group.experiment) for group in groups],
        "repeatable": [group.repeatable for group in groups],
        "with_contexts": [bool(group.contexts) for group in groups],
        "sizes": [len(group.units) for group in groups],
        "variants": _joined([group.variants for group in groups]),
        "propensities": _joined([group.propensities for group in groups]),
        "allocation_versions": _joined([group.allocation_versions for group in groups]),
        "assigned_at_ms": _joined([group.assigned_at_ms for group in groups]),
        "units": array("q", units.tobytes()).tolist(),  # Avro has no unsigned numbers
        "contexts": list(chain.from_iterable([group.contexts for group in groups])),
        "with_features": [bool(group.features) for group in groups],
        "features": list(chain.from_iterable([group.features for group in groups])),
        **_weights_record(groups),
        "outside": [
            {"experiment_id": experiment_id(number), "reason": reason, "requests": requests}
            for number, reason, requests in batch.outside
        ],
        "with_dimensions": [bool(group.dimensions) for group in groups],
        "dimensions": list(chain.from_iterable([group.dimensions for group in groups])),
        "tag": BLANK_TAG,
    }
    return codec.encode("impression_batch", record)


def decode_impression_batch(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> ImpressionBatch:
    """Return the batch of impressions in a Kafka record.

    Raises:
        EventError: the record cannot be read, its columns differ in length (`UNEQUAL_COLUMNS`), or
            a number is outside its bounds (`OUT_OF_RANGE`). Only processes of the installation
            write these records, so one invalid impression invalidates its batch.
    """
    record = read("impression_batch", value, codec)
    with event_errors():
        _check_lengths(record)
        _check_column(record, "variants", 0, _VARIANT_LIMIT)
        _check_column(record, "propensities", 1, PROPENSITY_ONE + 1)
        _check_column(record, "allocation_versions", 0, _VERSION_LIMIT)
        _check_column(record, "assigned_at_ms", 0, TIME_LIMIT_MS)
        return ImpressionBatch(
            incarnation(record["incarnation"]),
            check_range(record["partition"], 0, INT_LIMIT, "partition"),
            check_range(record["sequence"], 0, LONG_LIMIT, "sequence"),
            list(_groups(record)),
            tuple(map(_outside, record["outside"])),
        )


def _outside(record: Record) -> OutsideRequests:
    if _is_reason(record["reason"]) is None:
        raise EventError("INVALID_REASON", f"{quoted(record['reason'])} is no reason", "outside")
    requests = check_range(record["requests"], 1, _REQUESTS_LIMIT, "outside")
    return OutsideRequests(experiment_number(record["experiment_id"]), record["reason"], requests)


def _groups(record: Record) -> Iterator[ImpressionGroup]:
    units = array("Q", array("q", record["units"]).tobytes()).tolist()
    runs = zip(
        record["experiment_ids"],
        record["repeatable"],
        record["with_contexts"],
        record["with_features"],
        record["sizes"],
        record["weight_sizes"],
        record["with_dimensions"],
        strict=True,
    )
    start = first_context = first_features = first_weights = first_place = first_dimensions = 0
    for name, repeatable, has_contexts, has_features, size, n_weights, has_dimensions in runs:
        rows = slice(start, start + size)
        n_contexts = size if has_contexts else 0
        n_features = size if has_features else 0
        n_dimensions = size if has_dimensions else 0
        n_places = size if n_weights else 0
        weights: list[bytes] = []
        if n_weights:
            known = record["weights"][first_weights : first_weights + n_weights]
            places = record["weight_places"][first_place : first_place + n_places]
            weights = [known[check_range(place, 0, n_weights, "weight_places")] for place in places]
        yield ImpressionGroup(
            experiment_number(name),
            repeatable,
            record["variants"][rows],
            record["propensities"][rows],
            record["allocation_versions"][rows],
            record["assigned_at_ms"][rows],
            units[rows],
            record["contexts"][first_context : first_context + n_contexts],
            record["features"][first_features : first_features + n_features],
            weights,
            record["dimensions"][first_dimensions : first_dimensions + n_dimensions],
        )
        first_dimensions += n_dimensions
        first_weights += n_weights
        first_place += n_places
        start += size
        first_context += n_contexts
        first_features += n_features


def _weights_record(groups: Sequence[ImpressionGroup]) -> Record:
    """Return the weights of all groups: of each the different ones, and which an impression has."""
    sizes: list[int] = []
    weights: list[bytes] = []
    places: list[int] = []
    for group in groups:
        index = {packed: place for place, packed in enumerate(dict.fromkeys(group.weights))}
        sizes.append(len(index))
        weights += index
        places += map(index.__getitem__, group.weights)
    return {"weight_sizes": sizes, "weights": weights, "weight_places": places}


def _joined(columns: Sequence[Sequence[int]]) -> Sequence[int]:
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def _check_rectangular(group: ImpressionGroup) -> None:
    size = len(group.units)
    if not (
        len(group.variants)
        == len(group.propensities)
        == len(group.allocation_versions)
        == len(group.assigned_at_ms)
        == size
        and len(group.contexts) in {0, size}
        and len(group.features) in {0, size}
        and len(group.weights) in {0, size}
        and len(group.dimensions) in {0, size}
    ):
        raise InvalidParameterError("group", experiment_id(group.experiment), "of equal columns")


def _check_lengths(record: Record) -> None:
    sizes = record["sizes"]
    runs = {len(record[name]) for name in _RUNS}
    if runs != {len(sizes)} or min(chain(sizes, record["weight_sizes"]), default=0) < 0:
        raise EventError("UNEQUAL_COLUMNS", "every run needs an experiment and a size", "sizes")
    total = sum(sizes)
    for name in ("variants", "propensities", "allocation_versions", "assigned_at_ms", "units"):
        if len(record[name]) != total:
            raise EventError(
                "UNEQUAL_COLUMNS",
                f"{name} has {len(record[name])} entries, sizes sum to {total}",
                name,
            )
    for name in ("contexts", "features", "dimensions"):
        if len(record[name]) != sum(compress(sizes, record[f"with_{name}"])):
            raise EventError("UNEQUAL_COLUMNS", f"{name} do not fit their runs", name)
    weighed = sum(compress(sizes, record["weight_sizes"]))
    for name, count in (("weights", sum(record["weight_sizes"])), ("weight_places", weighed)):
        if len(record[name]) != count:
            raise EventError("UNEQUAL_COLUMNS", f"{name} do not fit their runs", name)


def _check_column(record: Record, name: str, low: int, high: int) -> None:
    column = record[name]
    if column:
        check_range(min(column), low, high, name)
        check_range(max(column), low, high, name)
