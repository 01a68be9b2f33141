"""Records of `commands`, read for the measurement plans of the experiments that they start.

A draft may be replaced as a whole, so the plan is that of the start; no later command changes it.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.codec import Codec
from streams.experiments.lifecycle import Status
from streams.experiments.measurement_plan import plan_of
from streams.fold.experiment_state import ExperimentState
from streams.fold.records import LogRecord
from streams.model.errors import EventError
from streams.model.partitioning import Partition
from streams.tallies.plan import Plan
from streams.wire.commands import decode_command


class StartedPlans:
    """Plans of started experiments, and the current drafts."""

    def __init__(self) -> None:
        self._plans: dict[int, Plan] = {}
        self._drafts: dict[int, ExperimentState] = {}

    def get(self, experiment: int) -> Plan | None:
        """Return the plan of a started experiment; None for any other."""
        return self._plans.get(experiment)

    def take(self, partition: Partition, records: Iterable[LogRecord], codec: Codec) -> None:
        """Apply commands, up to the start of each experiment.

        Args:
            partition: A partition of `commands`.
            records: Its records, in order; those taken before are skipped.
            codec: How they are framed.
        """
        for record in records:
            try:
                command = decode_command(record.value, partition, codec)
                number = command.experiment
            except EventError:
                continue  # a dead letter
            if number in self._plans:
                continue
            known = self._drafts.get(number) or ExperimentState(number)
            known.take_command(record.offset, command)
            if known.experiment is None:
                continue
            self._drafts[number] = known
            if known.experiment.status is not Status.DRAFT:
                self._settle(number)

    def settle(self, experiment: int, otherwise: Plan) -> None:
        """Fix the plan of an experiment to its current value.

        Args:
            experiment: The experiment.
            otherwise: The plan to use if it was not created.
        """
        if experiment in self._drafts:
            self._settle(experiment)
        self._plans.setdefault(experiment, otherwise)

    def _settle(self, number: int) -> None:
        found = self._drafts.pop(number).experiment
        assert found is not None  # noqa: S101 - drafts are created
        self._plans[number] = plan_of(found.definition, found.n_started)
