"""Records of `observations`: metric values, single or in batches, each event counted once.

Every record takes one path, whatever its format: it is decoded to columns (`streams.wire`), its
observations are verified (`verification`) and counted (`counting`). A single record is a column of
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.codec import Codec
from streams.experiments.exposure import WINDOWS_BY_EXPOSURE
from streams.fold.counting import count_observations
from streams.fold.exposures import by_exposure, exposures_among
from streams.fold.hashing import hash_of
from streams.fold.measuring import Measurement
from streams.fold.metric_slots import recall_slots
from streams.fold.misplaced import MisplacedObservation, misplaced
from streams.fold.observation_records import DecodedRecords, chunks, read_records
from streams.fold.partition import DEFAULT_LIMIT, Ledger, PartitionFold, archived
from streams.fold.records import Folding, FoldResult, LogRecord, never
from streams.fold.refusals import Refusal, by_code, refusal
from streams.fold.verification import VerifiedObservations, verify
from streams.model.receipts import Keyring
from streams.model.vectors import Vector
from streams.tallies.cell import Source
from streams.tallies.plan import Plan, PlanMissingError, PlanOf, plain

Listener = Callable[[VerifiedObservations, NDArray[np.int64]], None]
"""Called with observations and which rows of them have been counted, in order of the log. It must
not raise: they are counted already."""


@dataclass(frozen=True, slots=True)
class FoldedRecords:
    """Result of folding `DecodedRecords`.

    Attributes:
        records: How many of them were folded, from the first on.
        refused: What could not be counted, by index of the record.
        awaits: Experiment whose plan must be known before the next record; None if all are folded.
    """

    records: int
    refused: Mapping[int, Sequence[Refusal]]
    awaits: int | None = None


class ObservationFold(PartitionFold):
    """State of one partition of observations.

    Args:
        partition: The partition.
        keyring: Verifies the receipts.
        limit: Entries that the window of one experiment keeps at most.
        plan_of: Returns the measurement plan of an experiment; sums alone by default.
        partitions: Partitions of the topic, by which an observation is counted only where its
            receipt belongs; None to count it wherever it is.
        only: The one experiment whose observations are counted; None for all.
        listener: Called with what was counted.
    """

    source = Source.OBSERVATIONS

    def __init__(
        self,
        partition: int,
        keyring: Keyring,
        *,
        limit: int = DEFAULT_LIMIT,
        plan_of: PlanOf = plain,
        partitions: int | None = None,
        only: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        super().__init__(partition, limit=limit, plan_of=plan_of)
        self._keyring = keyring
        self._partitions = partitions
        self._only = only
        self._listener = listener
        self._misplaced: list[MisplacedObservation] = []

    def fold(self, read: DecodedRecords) -> FoldedRecords:
        """Count the observations of records; a repeated batch changes nothing.

        Repeated events are counted as duplicates, and not refused. An exception that is raised here
        is raised before anything is counted.

        Args:
            read: The records, all of them above `last_offset`.
        """
        rows = verify(
            read.columns, read.offsets, read.timestamps_ms, self._keyring, self._partitions
        )
        refused = {record: list(found) for record, found in read.refused.items()}
        for row, error in rows.errors.items():
            _refuse(refused, rows, row, error)
        begin, count = 0, len(read.offsets)
        for end in (*read.ends, count):
            stop, awaits = self._fold_between(read, rows, begin, end, refused)
            if awaits is not None:
                counted = {record: found for record, found in refused.items() if record < stop}
                return FoldedRecords(stop, counted, awaits)
            if end < count:
                self.end(read.offsets[end], read.ends[end])
            begin = end + 1
        return FoldedRecords(count, refused)

    def take_misplaced(self) -> list[MisplacedObservation]:
        """Return the misplaced observations of the records folded since the last call."""
        found, self._misplaced = self._misplaced, []
        return found

    def _fold_between(
        self,
        read: DecodedRecords,
        rows: VerifiedObservations,
        begin: int,
        end: int,
        refused: dict[int, list[Refusal]],
    ) -> tuple[int, int | None]:
        """Fold the records in [begin, end), none of which ends an experiment.

        Returns:
            The first record that was not folded, and the experiment whose plan is missing for it.
        """
        records = read.columns.records
        places = np.arange(*records.searchsorted((begin, end)).tolist())
        elsewhere = places[:0]
        if rows.errors:
            places = places[rows.receipts.valid[places]]
        if rows.home_partitions is not None:
            is_here = rows.home_partitions[places] == self._partition
            if not is_here.all():
                elsewhere, places = places[~is_here], places[is_here]
        if self._only is not None:
            places = places[rows.receipts.experiment[places] == self._only]
        places, ended = self._going_on(rows, places)
        ledgers, awaits = self._ledgers_of(rows.receipts.experiment[places].tolist())
        if awaits is not None:
            missing = rows.receipts.experiment[places] == np.uint64(awaits)
            end = int(records[places[missing][0]])
        if begin < end:
            self.last_offset = read.offsets[end - 1]
        passed = self._admit_sequences(read, begin, end, refused)
        places, elsewhere, ended = (
            _folded(records, some, end, passed) for some in (places, elsewhere, ended)
        )
        for row in elsewhere.tolist():
            self._take_misplaced(rows, row)
        for row in ended.tolist():
            _refuse(refused, rows, row, archived(int(rows.receipts.experiment[row])))
        places, vectors = _usable(rows, places, by_exposure(ledgers), refused)
        uncounted = count_observations(rows, places, ledgers, vectors)
        for row, error in uncounted.items():
            if error is not None:
                _refuse(refused, rows, row, error)
        if self._listener is not None:
            self._listener(rows, places[~np.isin(places, list(uncounted))])
        return end, awaits

    def _going_on(
        self, rows: VerifiedObservations, places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of experiments that have not ended, and of those that have."""
        if not self._ended or not len(places):
            return places, places[:0]
        ended = np.fromiter(self._ended, np.uint64, len(self._ended))
        has_ended = np.isin(rows.receipts.experiment[places], ended)
        return places[~has_ended], places[has_ended]

    def _ledgers_of(self, experiments: Sequence[int]) -> tuple[dict[int, Ledger], int | None]:
        """Return the ledgers of experiments, and the first experiment whose plan is missing."""
        ledgers: dict[int, Ledger] = {}
        for experiment in dict.fromkeys(experiments):
            try:
                ledgers[experiment] = self._ledger(experiment)
            except PlanMissingError:
                return ledgers, experiment
        return ledgers, None

    def _admit_sequences(
        self, read: DecodedRecords, begin: int, end: int, refused: dict[int, list[Refusal]]
    ) -> list[int]:
        """Return the numbered batches among records [begin, end) to skip."""
        passed = []
        for record, (incarnation, sequence) in read.sequences.items():
            if not begin <= record < end:
                continue
            try:
                if self._guard.admit(incarnation, self._partition, sequence):
                    continue
                self.duplicate_batches += 1
                refused.pop(record, None)
            except Exception as error:  # noqa: BLE001 - one batch's must not cost the others
                refused[record] = [refusal(0, error)]
            passed.append(record)
        return passed

    def _take_misplaced(self, rows: VerifiedObservations, row: int) -> None:
        assert rows.home_partitions is not None  # noqa: S101 - else every row is at home
        columns = rows.read
        origin = (
            f"{self.source}:{self._partition}:{int(rows.offsets[row])}:{int(columns.places[row])}"
        )
        found = columns.observation(row), int(rows.home_partitions[row])
        self._misplaced.append(misplaced(*found, origin, int(rows.timestamps_ms[row])))

    def _recall(self, ledger: Ledger) -> None:
        recall_slots(ledger)

    def _follow(self, ledger: Ledger, plan: Plan) -> None:
        super()._follow(ledger, plan)
        ledger.metric_hashes.update((metric, hash_of(metric)) for metric in plan.declared)
        if not plan.is_sums_alone:
            hashes = {metric: hash_of(metric) for pair in plan.pairs for metric in pair}
            if plan.by_period is not None:
                hashes[plan.by_period.metric] = hash_of(plan.by_period.metric)
            ledger.measurement = Measurement(plan, hashes)


def _usable(
    rows: VerifiedObservations,
    places: NDArray[np.int64],
    exposing: Sequence[int],
    refused: dict[int, list[Refusal]],
) -> tuple[NDArray[np.int64], dict[int, Vector]]:
    """Return the rows that their receipts allow to be counted, and features by row."""
    vectors: dict[int, Vector] = {}
    unusable = []
    windows = np.ones(len(places), np.int64)
    if exposing:
        is_by_exposure = np.isin(rows.receipts.experiment[places], np.array(exposing, np.uint64))
        windows[is_by_exposure & ~exposures_among(rows, places)] = WINDOWS_BY_EXPOSURE
    is_wrong = ~rows.is_attributable[places]
    if is_wrong.any() and exposing:
        is_wrong &= ~rows.is_within(places, windows)
    if rows.receipts.features:
        is_wrong |= np.isin(places, list(rows.receipts.features))
    windows_of = dict(zip(places[is_wrong].tolist(), windows[is_wrong].tolist(), strict=True))
    for row, within in windows_of.items():
        try:
            if row in rows.receipts.features:
                vectors[row] = rows.vector(row)
            rows.check_attribution(row, within)
        except Exception as error:  # noqa: BLE001 - one event's must not cost the others
            unusable.append(row)
            _refuse(refused, rows, row, error)
    return places[~np.isin(places, unusable)] if unusable else places, vectors


def _folded(
    records: NDArray[np.int64], places: NDArray[np.int64], end: int, passed: Sequence[int]
) -> NDArray[np.int64]:
    """Return the rows of records before `end` that are not passed by."""
    if not len(places) or (not passed and records[places[-1]] < end):
        return places
    found = records[places]
    return places[(found < end) & ~np.isin(found, passed)]


def _refuse(
    refused: dict[int, list[Refusal]], rows: VerifiedObservations, row: int, error: Exception
) -> None:
    record, place = int(rows.read.records[row]), int(rows.read.places[row])
    refused.setdefault(record, []).append(refusal(place, error))


class ObservationFolding(Folding[ObservationFold]):
    """Counts metric values, each event once.

    Args:
        codec: How records are framed.
        keyring: Verifies the receipts.
        limit: Events remembered per experiment and partition.
        plan_of: Returns the measurement plan of an experiment.
        partitions: Partitions of the topic; None to count observations wherever they are.
        only: The one experiment whose observations are counted; None for all.
        listener: Called with what was counted.
    """

    def __init__(
        self,
        codec: Codec,
        keyring: Keyring,
        limit: int,
        plan_of: PlanOf,
        partitions: int | None = None,
        *,
        only: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._codec = codec
        self._keyring = keyring
        self._limit = limit
        self._plan_of = plan_of
        self._partitions = partitions
        self._only = only
        self._listener = listener

    def new_fold(self, partition: int) -> ObservationFold:
        """Return the state of a partition that nothing was read of."""
        return ObservationFold(
            partition,
            self._keyring,
            limit=self._limit,
            plan_of=self._plan_of,
            partitions=self._partitions,
            only=self._only,
            listener=self._listener,
        )

    def fold(
        self,
        fold: ObservationFold,
        records: Sequence[LogRecord],
        is_due: Callable[[], bool] = never,
    ) -> FoldResult:
        """Fold records that follow each other; those at or below `fold.last_offset` are skipped.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Called after every `observation_records.CHUNK_BYTES`; returns whether to pause.
        """
        result = FoldResult()
        for start, stop in chunks(records, fold.last_offset):
            self._fold_chunk(fold, records, start, stop, result)
            if result.awaits is not None:
                break
            if is_due():
                result.is_paused = stop < len(records)
                break
        result.misplaced = fold.take_misplaced()
        return result

    def _fold_chunk(
        self,
        fold: ObservationFold,
        records: Sequence[LogRecord],
        start: int,
        stop: int,
        result: FoldResult,
    ) -> None:
        """Fold the records in [start, stop) together, and add the outcome to `result`."""
        try:
            read = read_records(records[start:stop], self._codec, self._keyring, fold.partition)
            folded = fold.fold(read)
        except Exception as error:  # noqa: BLE001 - one by one it is seen which record it is
            if stop == start + 1:
                fold.skip(records[start].offset)
                result.events += 1
                result.refused.append((start, by_code([refusal(0, error)])))
                return
            for index in range(start, stop):
                if records[index].offset > fold.last_offset:
                    self._fold_chunk(fold, records, index, index + 1, result)
                if result.awaits is not None:
                    return
            return
        result.awaits = folded.awaits
        result.events += folded.records + sum(
            size - 1 for record, size in read.sizes.items() if record < folded.records
        )
        for record, refusals in sorted(folded.refused.items()):
            ordered = sorted(refusals, key=lambda each: each.index)
            result.refused.append((start + record, by_code(ordered)))
