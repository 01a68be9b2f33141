"""Experiments as commands and snapshots have left them, for the tables that say what holds.

A draft may be changed as a whole, so the plan of an experiment is known once it has started; no
command after that changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from schemas import catalogue
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.fold.experiment_state import ExperimentState
from streams.kafka.records import StoredRecord, records_since
from streams.model.errors import EventError
from streams.model.events import CONCLUSION
from streams.model.ids import experiment_id
from streams.model.partitioning import Partition
from streams.replay.partitions import LogReading
from streams.tallies.plan import PLAIN, Plan
from streams.warehouse.experiment_rows import Row, dimensions_json, rows_of, table_of
from streams.warehouse.tables import STATE_TABLES, Table
from streams.warehouse.target import ReplacedRows
from streams.wire.commands import decode_command
from streams.wire.decisions import decode_decision
from streams.wire.snapshots import decode_snapshot


class Experiments:
    """Reads `commands` and snapshots on, from where they were read before.

    Args:
        reading: The log.
        generation: Gives the generation whose snapshots are read.
    """

    def __init__(self, reading: LogReading, generation: Callable[[], int]) -> None:
        self._reading = reading
        self._generation = generation
        self._positions: dict[str, dict[int, int]] = {}
        self._states: dict[int, ExperimentState] = {}
        self._plans: dict[int, Plan] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._conclusions: dict[int, Snapshot] = {}
        self._rows: dict[int, dict[Table, list[Row]]] = {}
        self._changed: set[int] = set()
        self._dimensions: dict[tuple[int, bytes], str | None] = {}

    def plan_of(self, number: int) -> Plan | None:
        """Return the plan of an experiment that has started; None while it is not known."""
        plan = self._plans.get(number)
        if plan is None and (found := self._experiment(number)) is not None:
            if found.status is Status.DRAFT:
                return None
            plan = self._plans[number] = plan_of(found.definition, found.n_started)
        return plan

    def learn(self, number: int) -> None:
        """Read `commands` to their end, by which the plan of an experiment is known permanently.

        Receipts exist only after the start of their experiment is durable. So one that is not there
        by then was not started before them, and is counted plainly, as workers do.
        """
        self.read_commands()
        if self.plan_of(number) is None:
            found = self._experiment(number)
            self._plans[number] = (
                PLAIN if found is None else plan_of(found.definition, found.n_started)
            )

    def read_commands(self) -> None:
        """Apply the commands since the last call."""
        self._read(catalogue.COMMANDS.name, self._take_commands)

    def read_snapshots(self) -> None:
        """Take the newest snapshots since the last call."""
        newest: dict[bytes | None, StoredRecord] = {}

        def take(_: Partition, records: Iterable[StoredRecord]) -> None:
            newest.update((record.key, record) for record in records)

        topic = catalogue.of_generation(catalogue.POSTERIORS, self._generation())
        self._read(topic.name, take)
        for record in newest.values():
            if record.value is None:
                continue
            try:
                snapshot = decode_snapshot(record.value, self._reading.codec)
            except EventError:
                continue  # the next one of the experiment is in its place
            number = snapshot.experiment.number
            known = self._snapshots.get(number)
            if known is None or known.order <= snapshot.order:
                self._snapshots[number] = snapshot
                self._changed.add(number)
        self._read_conclusions()

    def _read_conclusions(self) -> None:
        """Take the reports of conclusions where no snapshot is, as after a rebuild."""
        lacking = {
            number
            for number, state in self._states.items()
            if number not in self._snapshots
            and state.experiment is not None
            and state.experiment.concluded_at_ms is not None
        }
        if lacking:
            self._read(catalogue.DECISIONS.name, self._take_conclusions)
        for number in lacking & self._conclusions.keys():
            self._snapshots[number] = self._conclusions[number]
            self._changed.add(number)

    def _take_conclusions(self, _: Partition, records: Iterable[StoredRecord]) -> None:
        for record in records:
            try:
                decision = decode_decision(record.value, self._reading.codec)
                if decision.kind == CONCLUSION:
                    report = decode_snapshot(decision.snapshot)
                    self._conclusions.setdefault(decision.experiment, report)
            except EventError:
                continue

    def take_changes(self) -> dict[Table, ReplacedRows]:
        """Return the tables that say what holds now; none if nothing has changed."""
        if not self._changed:
            return {}
        changed, self._changed = sorted(self._changed), set()
        for number in changed:
            self._rows[number] = self._rows_of(number)
        names = [experiment_id(number) for number in changed]
        return {table: ReplacedRows(self._table(table), names) for table in STATE_TABLES}

    def dimensions_of(self, number: int, packed: bytes) -> str | None:
        """Return the values of a unit in the dimensions of its experiment, as JSON."""
        key = number, packed
        if key not in self._dimensions:
            found = self._experiment(number)
            self._dimensions[key] = None if found is None else dimensions_json(found, packed)
        return self._dimensions[key]

    def _experiment(self, number: int) -> Experiment | None:
        state = self._states.get(number)
        return None if state is None else state.experiment

    def _read(self, topic: str, take: Callable[[Partition, Iterable[StoredRecord]], None]) -> None:
        for partition, records in records_since(
            self._reading, topic, self._positions.setdefault(topic, {})
        ):
            take(partition, records)

    def _take_commands(self, partition: Partition, records: Iterable[StoredRecord]) -> None:
        for record in records:
            try:
                command = decode_command(record.value, partition, self._reading.codec)
            except EventError:
                continue  # a dead letter
            state = self._states.setdefault(command.experiment, ExperimentState(command.experiment))
            state.take_command(record.offset, command)
            if state.experiment is not None:
                self._changed.add(command.experiment)

    def _rows_of(self, number: int) -> dict[Table, list[Row]]:
        snapshot = self._snapshots.get(number)
        experiment = self._experiment(number)
        if experiment is None:
            assert snapshot is not None  # noqa: S101 - one of both has changed
            experiment = snapshot.experiment
        return rows_of(experiment, snapshot)

    def _table(self, table: Table) -> pa.Table:
        rows = [row for _, found in sorted(self._rows.items()) for row in found[table]]
        return table_of(table, rows)
