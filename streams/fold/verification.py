"""The one place where observations are verified: by their receipts, partition and attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.fold.hashing import KEY_MASK, hash_of, hashes_of
from streams.model.attribution import CLOCK_SKEW_MS, check_attribution
from streams.model.partitioning import partitions_of, partitions_of_rows
from streams.model.receipt_columns import VECTORIZED_FROM, ReceiptColumns, open_receipts
from streams.model.receipts import Keyring, Receipt
from streams.model.vectors import Vector, unpack
from streams.model.voids import void_reason
from streams.tallies.heavy_units import HeavyUnit
from streams.wire.observation_columns import NOT_GIVEN, ObservationColumns


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedObservations:
    """Observations with the content of their receipts, one row each; invalid rows are undefined.

    Attributes:
        read: The observations as they were read.
        receipts: Content of their receipts.
        errors: Errors of invalid receipts, by row.
        home_partitions: Partition that the receipt belongs to; None where any partition counts it.
        is_attributable: Whether its receipt allows the time of the observation.
        offsets: Offset of the record.
        timestamps_ms: Kafka timestamp of the record.
        observed_at_ms: Time of the observation; a future time is clipped to the latest one that
            clock skew allows, so that it does not advance the clock. A record is no older than its
            assignment, whatever its timestamp says, as of a producer that states seconds.
        keys: Key of the unit and the metric in the memory of the partition.
        events: Hash of the event id; 0 when the sender gave none.
        void_reasons: Reason by index of the metric, of the metrics that void assignments.
    """

    read: ObservationColumns
    receipts: ReceiptColumns
    errors: dict[int, Exception]
    home_partitions: NDArray[np.int64] | None
    is_attributable: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    keys: NDArray[np.uint64]
    events: NDArray[np.uint64]
    void_reasons: Mapping[int, str]

    def are_voids(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these rows void their assignments."""
        return np.isin(self.read.metrics[rows], list(self.void_reasons))

    def heavy_unit(self, row: int, events: int) -> HeavyUnit:
        """Return the unit of a row with its number of observations of its metric."""
        metric = self.read.names[int(self.read.metrics[row])]
        unit = int(self.receipts.unit[row])
        return HeavyUnit(self.read.assignment_id(row), metric, unit, events)

    def is_within(self, rows: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether rows are within a number of attribution windows."""
        observed = self.read.observed_at_ms[rows]
        observed = np.where(observed == NOT_GIVEN, self.timestamps_ms[rows], observed)
        age_ms = observed - self.receipts.assigned_at_ms[rows]
        spans_ms = windows * self.receipts.attribution_window_s[rows] * 1000
        return _are_within(age_ms, spans_ms)

    def check_attribution(self, row: int, windows: int = 1) -> None:
        """Refuse a row outside the attribution of its assignment.

        Args:
            row: The row.
            windows: Attribution windows within which it may be.

        Raises:
            ReceiptError: as `streams.model.attribution.check_attribution`.
        """
        if self.is_attributable[row]:
            return
        observed_at_ms = int(self.read.observed_at_ms[row])
        check_attribution(
            Receipt(
                int(self.receipts.experiment[row]),
                int(self.receipts.variant[row]),
                int(self.receipts.propensity[row]),
                0,
                int(self.receipts.assigned_at_ms[row]),
                int(self.receipts.unit[row]),
                windows * int(self.receipts.attribution_window_s[row]),
            ),
            int(self.timestamps_ms[row]) if observed_at_ms == NOT_GIVEN else observed_at_ms,
        )

    def vector(self, row: int) -> Vector:
        """Return the features in the receipt of a row of `receipts.features`.

        Raises:
            EventError: they are not a valid vector.
        """
        return unpack(self.receipts.features[row])


def verify(
    read: ObservationColumns,
    offsets: Sequence[int],
    timestamps_ms: Sequence[int],
    keyring: Keyring,
    partitions: int | None,
) -> VerifiedObservations:
    """Verify observations.

    Args:
        read: The observations.
        offsets, timestamps_ms: Of the records they were read from.
        keyring: Verifies their receipts.
        partitions: Partitions of the topic; None to count observations wherever they are.
    """
    receipts, errors = open_receipts(keyring, read.receipts, read.receipt_sizes)
    timestamps = np.array(timestamps_ms, np.int64)[read.records]
    observed = np.where(read.observed_at_ms == NOT_GIVEN, timestamps, read.observed_at_ms)
    age_ms = observed - receipts.assigned_at_ms
    window_ms = receipts.attribution_window_s * 1000
    is_attributable = _are_within(age_ms, window_ms)
    reasons = dict(enumerate(map(void_reason, read.names)))
    void_reasons = {metric: reason for metric, reason in reasons.items() if reason is not None}
    if void_reasons:  # of an assignment of any time in memory
        is_attributable |= np.isin(read.metrics, list(void_reasons))
    metric_hashes = np.array([hash_of(name) for name in read.names], np.uint64)
    return VerifiedObservations(
        read,
        receipts,
        errors,
        None if partitions is None else _home_partitions(read, partitions),
        is_attributable,
        np.array(offsets, np.int64)[read.records],
        timestamps,
        np.minimum(observed, np.maximum(timestamps, receipts.assigned_at_ms) + CLOCK_SKEW_MS),
        (receipts.identity ^ metric_hashes[read.metrics]) & np.uint64(KEY_MASK),
        hashes_of(read.event_ids),
        void_reasons,
    )


def _are_within(age_ms: NDArray[np.int64], spans_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    # Like `check_attribution`, which also reports the reason.
    is_within: NDArray[np.bool_] = (age_ms >= -CLOCK_SKEW_MS) & (
        (spans_ms == 0) | (age_ms <= spans_ms)
    )
    return is_within


def _home_partitions(read: ObservationColumns, partitions: int) -> NDArray[np.int64]:
    if len(read) < VECTORIZED_FROM:
        sizes = read.receipt_sizes.tolist()
        texts = [row[:n].tobytes() for row, n in zip(read.receipts, sizes, strict=True)]
        return np.array(partitions_of(texts, partitions), np.int64)
    return partitions_of_rows(read.receipts, read.receipt_sizes, partitions)
