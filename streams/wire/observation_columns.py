"""Observations as columns: the one form that records of the topic take before they are counted.

Most records are single Avro observations of the newest version, and those are read by the thousand
(`plain_observations`). Every other record is read as a batch (`decode_observations`), whatever its
format, and its observations become rows among the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.model.events import Observation

NOT_GIVEN = -1
"""Stands for the time of an observation whose sender gave none."""


@dataclass(frozen=True, slots=True, eq=False)
class ObservationColumns:
    """Observations within their bounds, one row each, in order of their records and places.

    Attributes:
        records: Index of the record among those that were read together.
        places: Place of the observation in its record.
        receipts: UTF-8 characters of the receipts, not verified; as wide as the longest, and what
            is beyond the size of another one means nothing.
        receipt_sizes: Bytes of the receipts.
        names: Names of metrics, each once.
        metrics: Index of the metric in `names`.
        values: Micro-units.
        event_ids: The senders' names of the events, UTF-8; empty when the sender gave none.
        observed_at_ms: Times of the events; `NOT_GIVEN` when the sender gave none.
    """

    records: NDArray[np.int64]
    places: NDArray[np.int64]
    receipts: NDArray[np.uint8]
    receipt_sizes: NDArray[np.int64]
    names: Sequence[str]
    metrics: NDArray[np.int64]
    values: NDArray[np.int64]
    event_ids: Sequence[bytes]
    observed_at_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.records)

    def assignment_id(self, row: int) -> str:
        """Return the receipt of a row, as text."""
        return self.receipts[row, : self.receipt_sizes[row]].tobytes().decode()

    def observation(self, row: int) -> Observation:
        """Return a row as a separate value."""
        event_id = self.event_ids[row]
        observed_at_ms = int(self.observed_at_ms[row])
        return Observation(
            self.assignment_id(row),
            self.names[self.metrics[row]],
            int(self.values[row]),
            event_id.decode() if event_id else None,
            None if observed_at_ms == NOT_GIVEN else observed_at_ms,
        )


def columns_of(records: Mapping[int, Iterable[tuple[int, Observation]]]) -> ObservationColumns:
    """Return observations as columns.

    Args:
        records: Place in the record and observation, by index of the record in ascending order.
    """
    rows = [(record, place, each) for record, members in records.items() for place, each in members]
    texts = [each.assignment_id.encode() for _, _, each in rows]
    sizes = list(map(len, texts))
    width = max(sizes, default=0)
    padded = b"".join([text.ljust(width) for text in texts])
    index: dict[str, int] = {}
    metrics = [index.setdefault(each.metric, len(index)) for _, _, each in rows]
    return ObservationColumns(
        np.array([record for record, _, _ in rows], np.int64),
        np.array([place for _, place, _ in rows], np.int64),
        np.frombuffer(padded, np.uint8).reshape(len(rows), width),
        np.array(sizes, np.int64),
        list(index),
        np.array(metrics, np.int64),
        np.array([each.value for _, _, each in rows], np.int64),
        [b"" if each.event_id is None else each.event_id.encode() for _, _, each in rows],
        np.array(
            [
                NOT_GIVEN if each.observed_at_ms is None else each.observed_at_ms
                for _, _, each in rows
            ],
            np.int64,
        ),
    )


def merged(one: ObservationColumns, other: ObservationColumns) -> ObservationColumns:
    """Return the rows of both, which have no record in common, in order of their records."""
    if not len(one) or not len(other):
        return one if len(one) else other
    records = np.concatenate([one.records, other.records])
    order = np.argsort(records, kind="stable")
    width = max(one.receipts.shape[1], other.receipts.shape[1])
    receipts = np.concatenate([_widened(each.receipts, width) for each in (one, other)])
    index = {name: number for number, name in enumerate(one.names)}
    metrics = np.array([index.setdefault(name, len(index)) for name in other.names], np.int64)
    event_ids = [*one.event_ids, *other.event_ids]
    return ObservationColumns(
        records[order],
        np.concatenate([one.places, other.places])[order],
        receipts[order],
        np.concatenate([one.receipt_sizes, other.receipt_sizes])[order],
        list(index),
        np.concatenate([one.metrics, metrics[other.metrics]])[order],
        np.concatenate([one.values, other.values])[order],
        [event_ids[row] for row in order.tolist()],
        np.concatenate([one.observed_at_ms, other.observed_at_ms])[order],
    )


def _widened(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    if rows.shape[1] == width:
        return rows
    wide = np.zeros((len(rows), width), np.uint8)
    wide[:, : rows.shape[1]] = rows
    return wide
