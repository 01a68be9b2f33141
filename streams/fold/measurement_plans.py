"""Records of `commands`, read for the measurement plans of the experiments they create."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.codec import Codec
from streams.experiments.measurement_plan import plan_of
from streams.fold.experiment_state import ExperimentState
from streams.fold.records import LogRecord
from streams.model.errors import EventError
from streams.model.events import CommandKind
from streams.tallies.plan import Plan
from streams.wire.commands import decode_command


def take_plans(plans: dict[int, Plan], records: Iterable[LogRecord], codec: Codec) -> None:
    """Add the plans of the experiments that some commands create.

    The first `create` that is accepted counts, as it does where commands are applied. What
    comes after it changes no plan, so it is not looked at.

    Args:
        plans: Plan by experiment.
        records: Of `commands`, every partition in order.
        codec: How they are framed.
    """
    for record in records:
        try:
            command = decode_command(record.value, codec)
            number = command.experiment
            if command.kind is not CommandKind.CREATE or number in plans:
                continue
        except EventError:
            continue  # a dead letter
        known = ExperimentState(number)
        known.take_command(record.offset, command)
        if known.experiment is not None:
            plans[number] = plan_of(known.experiment.definition)
