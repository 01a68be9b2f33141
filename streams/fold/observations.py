"""Records of `observations`: metric values, single or in batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.codec import Codec
from streams.fold.base import Folded, Folding, LogRecord, decoded, empty, never
from streams.model.events import ObservationBatch, VerifiedObservations
from streams.model.partitioning import partitions_of_rows
from streams.model.receipt_columns import open_columns
from streams.model.receipts import CLOCK_SKEW_MS, Keyring
from streams.tallies.observations import ObservationFold, hash_events
from streams.tallies.partition import Refusal
from streams.tallies.plan import PlanMissingError, PlanOf
from streams.tallies.refusals import by_code
from streams.wire.batch_tags import check_tag
from streams.wire.experiment_ends import decode_experiment_end, is_experiment_end
from streams.wire.observations import decode_observations
from streams.wire.plain_observations import read_plain_observations

COLUMNS_FROM = 64
"""Records of a batch from which on columns are worth their fixed price: they cost as much as single
records at 40, and three quarters at 64."""


class ObservationFolding(Folding[ObservationFold]):
    """Counts metric values, each event once.

    Single observations are decoded and verified together, as columns, and those of new units are
    counted together; `python -m benchmarks.fold` measures it. What is unusual or would be refused
    goes through the general way, at its place among the others, so either way gives the same state
    and refusals.

    Args:
        codec: How records are framed.
        keyring: Verifies the receipts.
        limit: Events remembered per experiment and partition.
        plan_of: Gives what is kept of every experiment.
        partitions: Partitions of the topic; None to count observations wherever they are.
    """

    def __init__(
        self,
        codec: Codec,
        keyring: Keyring,
        limit: int,
        plan_of: PlanOf,
        partitions: int | None = None,
    ) -> None:
        self._codec = codec
        self._keyring = keyring
        self._limit = limit
        self._plan_of = plan_of
        self._partitions = partitions

    def new_fold(self, partition: int) -> ObservationFold:
        """Return the state of a partition that nothing was read of."""
        return ObservationFold(
            partition,
            self._keyring,
            limit=self._limit,
            plan_of=self._plan_of,
            partitions=self._partitions,
        )

    def fold(
        self,
        fold: ObservationFold,
        records: Sequence[LogRecord],
        is_due: Callable[[], bool] = never,
    ) -> Folded:
        """Fold records that follow each other; those at or below `fold.hw` are passed by.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Asked after every unusual record whether to pause.
        """
        if len(records) < COLUMNS_FROM:
            folded = super().fold(fold, records, is_due)
        else:
            folded = self._fold_columns(fold, records, is_due)
        folded.misplaced = fold.take_misplaced()
        return folded

    def _fold_columns(
        self, fold: ObservationFold, records: Sequence[LogRecord], is_due: Callable[[], bool]
    ) -> Folded:
        try:
            usual, rows = self._verify(records, fold.partition)
        except Exception:  # noqa: BLE001 - one by one it is seen which record it is
            return super().fold(fold, records, is_due)
        folded = Folded()
        places = np.flatnonzero(usual).tolist()
        row = 0
        try:
            # The k-th unusual record, at `place`, comes after `place - k` rows.
            for k, place in enumerate([*np.flatnonzero(~usual).tolist(), len(records)]):
                try:
                    for refused, refusals in fold.fold_verified(rows, row, place - k):
                        folded.refused.append((places[refused], by_code(refusals)))
                    folded.events += place - k - row
                except PlanMissingError:
                    raise
                except Exception:  # noqa: BLE001 - nothing of them was counted
                    for single in places[row : place - k]:
                        self._fold_one(fold, single, records[single], folded)
                row = place - k
                if place < len(records):
                    self._fold_one(fold, place, records[place], folded)
                    if is_due():
                        folded.is_paused = place + 1 < len(records)
                        break
        except PlanMissingError as error:
            folded.events += max(0, bisect_right(rows.offsets, fold.hw, row) - row)
            folded.awaits = error.experiment
        return folded

    def _decode(self, value: bytes | None) -> ObservationBatch:
        return decode_observations(value, self._codec)

    def _verify(
        self, records: Sequence[LogRecord], partition: int
    ) -> tuple[NDArray[np.bool_], VerifiedObservations]:
        """Return which records are usual and will not be refused for what they say, and those."""
        read = read_plain_observations([record.value for record in records])
        receipts = open_columns(self._keyring, read.receipts)
        timestamps = np.array([record.timestamp for record in records], np.int64)
        observed = np.where(read.observed_at_ms < 0, timestamps, read.observed_at_ms)
        age = observed - receipts.assigned_at_ms
        window_ms = receipts.attribution_window_s * 1000
        # As check_attribution does, which would also say what is wrong.
        usual = read.plain & receipts.valid & (age >= -CLOCK_SKEW_MS)
        usual &= (window_ms == 0) | (age <= window_ms)
        if self._partitions is not None:
            usual &= partitions_of_rows(read.receipts, self._partitions) == partition
        places = np.flatnonzero(usual)
        offsets = np.fromiter((record.offset for record in records), np.int64, len(records))
        return usual, VerifiedObservations(
            offsets[places],
            timestamps[places],
            receipts.experiment[places],
            receipts.variant[places],
            receipts.propensity[places],
            receipts.assigned_at_ms[places],
            receipts.attribution_window_s[places],
            receipts.identity[places],
            read.names,
            read.metrics[places],
            read.values[places],
            hash_events([read.event_ids[place] for place in places.tolist()]),
            np.minimum(observed, timestamps + CLOCK_SKEW_MS)[places],
        )

    def _fold_record(
        self, fold: ObservationFold, record: LogRecord
    ) -> tuple[int, Sequence[Refusal]]:
        if is_experiment_end(record.value):
            ended = decode_experiment_end(record.value, self._keyring, fold.source, fold.partition)
            fold.end(record.offset, ended)
            return 1, ()
        batch = decoded(self._decode, record)
        if batch.sequence is not None:
            assert record.value is not None  # noqa: S101 - it has been decoded
            check_tag(self._keyring, fold.source, fold.partition, record.value)
        if not batch.observations:
            raise empty()
        return len(batch.observations), fold.fold(record.offset, batch, record.timestamp)
