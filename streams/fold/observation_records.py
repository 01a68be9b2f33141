"""Records of `observations`, decoded to columns whatever their format."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter

import numpy as np

from schemas.codec import Codec
from streams.fold.records import LogRecord, decoded, empty
from streams.fold.refusals import Refusal, refusal
from streams.model.errors import EventError
from streams.model.events import Observation, ObservationBatch
from streams.model.receipts import Keyring
from streams.tallies.cell import Source
from streams.wire.batch_tags import check_tag
from streams.wire.experiment_ends import decode_experiment_end, is_experiment_end
from streams.wire.observation_columns import ObservationColumns, columns_of, merged
from streams.wire.observations import decode_observations
from streams.wire.plain_observations import PLAIN_START, read_plain_observations
from streams.wire.records import TIME_LIMIT_MS

VECTORIZED_FROM = 32
"""Number of records from which batch decoding of plain ones is faster."""

CHUNK_BYTES = 1 << 20
"""Maximum size of records folded together, unless a single one is larger: about 0.05 s of work, or
7,000 clicks, beyond which batches are no more efficient."""

COST_OF_OTHERS = 16
"""Cost of a byte that is no plain observation's over that of one that is. A plain observation has
80 bytes at least; of other bytes two can be an observation that is refused, in a batch of JSON."""

_offset, _timestamp, _value = attrgetter("offset"), attrgetter("timestamp"), attrgetter("value")


@dataclass(frozen=True, slots=True)
class DecodedRecords:
    """Decoded consecutive records of observations.

    Attributes:
        offsets, timestamps_ms: Offset and Kafka timestamp of each record.
        columns: Their observations.
        refused: Refusals of unreadable parts, by index of the record.
        sequences: Incarnation and sequence of numbered batches, by index of the record.
        ends: Experiment whose end a record is, by index of the record in ascending order.
        sizes: Events of records that do not have one, by index of the record.
    """

    offsets: Sequence[int]
    timestamps_ms: Sequence[int]
    columns: ObservationColumns
    refused: Mapping[int, Sequence[Refusal]] = field(default_factory=dict)
    sequences: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    ends: Mapping[int, int] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)


def read_records(
    records: Sequence[LogRecord], codec: Codec, keyring: Keyring, partition: int
) -> DecodedRecords:
    """Decode records: plain observations together, all others one by one.

    Args:
        records: The records.
        codec: How they are framed.
        keyring: Verifies the tags of numbered batches and of ends.
        partition: Where they were read.
    """
    columns, others = columns_of({}), list(range(len(records)))
    timestamps_ms = list(map(_timestamp, records))
    if len(records) >= VECTORIZED_FROM:
        values: list[bytes | None] = list(map(_value, records))
        if max(timestamps_ms) >= TIME_LIMIT_MS:  # those are read, and refused, one by one
            values = [
                value if at_ms < TIME_LIMIT_MS else None
                for value, at_ms in zip(values, timestamps_ms, strict=True)
            ]
        columns, is_plain = read_plain_observations(values)
        others = np.flatnonzero(~is_plain).tolist()
    refused: dict[int, list[Refusal]] = {}
    sequences: dict[int, tuple[int, int]] = {}
    ends: dict[int, int] = {}
    sizes: dict[int, int] = {}
    members: dict[int, list[tuple[int, Observation]]] = {}
    for index in others:
        record = records[index]
        try:
            if is_experiment_end(record.value):
                ends[index] = decode_experiment_end(
                    record.value, keyring, Source.OBSERVATIONS, partition
                )
                continue
            batch = _decode(record, codec, keyring, partition)
        except Exception as error:  # noqa: BLE001 - one record must not end a process
            refused[index] = [refusal(0, error)]
            continue
        if batch.incarnation is not None and batch.sequence is not None:
            sequences[index] = batch.incarnation, batch.sequence
        found, errors = _members(batch)
        members[index], sizes[index] = found, len(batch.observations)
        if errors:
            refused[index] = errors
    return DecodedRecords(
        list(map(_offset, records)),
        timestamps_ms,
        merged(columns, columns_of(members)) if members else columns,
        refused,
        sequences,
        ends,
        sizes,
    )


def _decode(record: LogRecord, codec: Codec, keyring: Keyring, partition: int) -> ObservationBatch:
    if record.timestamp >= TIME_LIMIT_MS:
        # A sender chooses it. What follows from the record could not be written: copies of its
        # observations, points of the time series.
        message = f"the record is of {record.timestamp} ms, must be below {TIME_LIMIT_MS}"
        raise EventError("OUT_OF_RANGE", message, "timestamp")
    batch = decoded(lambda value: decode_observations(value, codec), record)
    if batch.sequence is not None:
        assert record.value is not None  # noqa: S101 - it has been decoded
        check_tag(keyring, Source.OBSERVATIONS, partition, record.value)
    if not batch.observations:
        raise empty()
    return batch


def _members(batch: ObservationBatch) -> tuple[list[tuple[int, Observation]], list[Refusal]]:
    """Return the observations of a batch with their places, and its invalid members."""
    found: list[tuple[int, Observation]] = []
    errors: list[Refusal] = []
    for place, each in enumerate(batch.observations):
        if isinstance(each, EventError):
            errors.append(refusal(place, each))
        else:
            found.append((place, each))
    return found, errors


def chunks(records: Sequence[LogRecord], last_offset: int) -> Iterator[tuple[int, int]]:
    """Yield runs [start, stop) of the records above `last_offset`, of `CHUNK_BYTES` at most.

    Bytes of what is no plain observation count `COST_OF_OTHERS` times.
    """
    start, count = 0, len(records)
    while start < count and records[start].offset <= last_offset:
        start += 1
    values = [value or b"" for value in map(_value, records)]
    costs = [
        len(value) if value.startswith(PLAIN_START) else COST_OF_OTHERS * len(value)
        for value in values
    ]
    ends = list(accumulate(costs))
    while start < count:
        stop = bisect_right(ends, CHUNK_BYTES + ends[start] - costs[start])
        stop = max(stop, start + 1)
        yield start, stop
        start = stop
