"""Observations copied for holdouts, which count observations by any receipt of a unit.

A copy carries the unit's receipt of the holdout, so it is counted in the partition of that receipt.
It has the event id of the original, or else one derived from its position: so repeated copies count
once, and an event reported with receipts of several experiments counts once if it has an id. A
replay reads the copies from the log and makes none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.codec import Codec
from streams.experiments.exposure import Exposure
from streams.experiments.holdouts import Holdout
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.unit_kind import UnitKind
from streams.fold.experiment_state import ExperimentState
from streams.fold.observation_records import DecodedRecords, read_records
from streams.fold.records import LogRecord
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import EventError
from streams.model.events import EXPOSURE, CommandKind, Observation
from streams.model.partitioning import Partition
from streams.model.receipt_columns import open_receipts
from streams.model.receipts import Keyring
from streams.tallies.cell import Source
from streams.wire.commands import decode_command

_CHANGING = frozenset({CommandKind.CONCLUDE, CommandKind.ARCHIVE})


@dataclass(frozen=True, slots=True)
class _CoveredExperiment:
    """The properties of an experiment that holdouts depend on.

    Attributes:
        unit: Its unit.
        by_exposure: Whether its units count from their exposure.
    """

    unit: UnitKind
    by_exposure: bool


class Coverage:
    """The experiments and holdouts of `commands`.

    Attributes:
        since_ms: Time from which records may have to be copied; None without a holdout.
    """

    def __init__(self) -> None:
        self._experiments: dict[int, _CoveredExperiment] = {}
        self._states: dict[int, ExperimentState] = {}
        self._holdouts: dict[int, tuple[UnitKind, Holdout]] = {}

    @property
    def since_ms(self) -> int | None:
        """Time from which records may have to be copied; None without a holdout."""
        starts = [each.started_at_ms for _, each in self._holdouts.values()]
        return min(starts) - CLOCK_SKEW_MS if starts else None

    def take(
        self, partition: Partition, records: Iterable[LogRecord], codec: Codec, keyring: Keyring
    ) -> None:
        """Take records of `commands`.

        Args:
            partition: A partition of `commands`.
            records: Its records, in order.
            codec: How they are framed.
            keyring: Learns the keys by which the receipts of holdouts are signed.
        """
        for record in records:
            try:
                command = decode_command(record.value, partition, codec)
            except EventError:
                continue  # a dead letter
            number = command.experiment
            state = self._states.get(number)
            if command.kind is CommandKind.CREATE and number not in self._experiments:
                state = ExperimentState(number)
            elif state is None or command.kind not in _CHANGING:
                continue
            state.take_command(record.offset, command)
            if state.experiment is not None:
                self._note(state, state.experiment, keyring)

    def _note(self, state: ExperimentState, experiment: Experiment, keyring: Keyring) -> None:
        config, number = experiment.definition.config, experiment.number
        self._experiments[number] = _CoveredExperiment(
            config.unit, config.exposure is Exposure.EVENT
        )
        if config.holdout is None:
            return
        self._states[number] = state
        holdout = experiment.holdout
        if holdout is not None:
            self._holdouts[number] = config.unit, holdout
            keyring.sign_with(number, config.receipt_key)
        elif experiment.status is Status.ARCHIVED:
            self._holdouts.pop(number, None)

    def observing(self) -> dict[int, tuple[Holdout, ...]]:
        """Return the holdouts that count the observations of each experiment or holdout."""
        return {
            number: tuple(
                each
                for own, (unit, each) in self._holdouts.items()
                if own != number
                and unit is covered.unit
                and (number in self._holdouts or each.covers(number))
            )
            for number, covered in self._experiments.items()
        }

    def by_exposure(self, experiment: int) -> bool:
        """Return whether exposures of an experiment are exposures to its holdouts."""
        return self._experiments[experiment].by_exposure and experiment not in self._holdouts


def copies_of(
    records: Sequence[LogRecord],
    partition: int,
    codec: Codec,
    keyring: Keyring,
    coverage: Coverage,
) -> list[Observation]:
    """Return the copies of observations that holdouts count.

    Args:
        records: Records of one partition of `observations`, none of which is a copy.
        partition: The partition.
        codec: How they are framed.
        keyring: Verifies and signs receipts.
        coverage: What is in `commands` up to a time after these records were written.
    """
    since_ms = coverage.since_ms
    if since_ms is None:
        return []
    covering = {number: found for number, found in coverage.observing().items() if found}
    if not records or not covering:
        return []
    read = read_records(records, codec, keyring, partition)
    columns = read.columns
    receipts, _ = open_receipts(keyring, columns.receipts, columns.receipt_sizes)
    wanted = np.fromiter(covering, np.uint64, len(covering))
    # The time that an observation states counts, whatever the timestamp of its record says.
    written_ms = np.array(read.timestamps_ms, np.int64)[columns.records]
    is_recent = np.maximum(written_ms, columns.observed_at_ms) >= since_ms
    rows = np.flatnonzero(receipts.valid & is_recent & np.isin(receipts.experiment, wanted))
    copies: list[Observation] = []
    for row in rows.tolist():
        experiment, unit = int(receipts.experiment[row]), int(receipts.unit[row])
        observation = columns.observation(row)
        if observation.metric == EXPOSURE and not coverage.by_exposure(experiment):
            continue
        copies += _copies(read, row, observation, partition, covering[experiment], unit, keyring)
    return copies


def _copies(
    read: DecodedRecords,
    row: int,
    observation: Observation,
    partition: int,
    holdouts: Collection[Holdout],
    unit: int,
    keyring: Keyring,
) -> list[Observation]:
    record, place = int(read.columns.records[row]), int(read.columns.places[row])
    if observation.event_id is None:
        sequence = read.sequences.get(record)
        # A batch that was sent twice has two offsets and one sequence.
        origin = (
            f"{Source.OBSERVATIONS}:{partition}:{read.offsets[record]}:{place}"
            if sequence is None
            else f"{sequence[0]:x}:{partition}:{sequence[1]}:{place}"
        )
        observation = replace(observation, event_id=origin)
    if observation.observed_at_ms is None:
        observation = replace(observation, observed_at_ms=max(0, read.timestamps_ms[record]))
    return [
        replace(observation, assignment_id=keyring.sign(each.receipt(unit))) for each in holdouts
    ]
