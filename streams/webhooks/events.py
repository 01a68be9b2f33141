"""Events of decisions: their content and ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from streams.experiments.labels import Tags
from streams.experiments.lifecycle import Experiment
from streams.model.errors import InputError
from streams.model.events import CONCLUSION, CommandKind, Decision
from streams.model.experiment_keys import named_experiment
from streams.model.ids import experiment_id, variant_id
from streams.model.times import LAST_MS
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.event_types import EventType, matches
from streams.webhooks.experiments import ExperimentDirectory

_PERSON = b"webhook message"
_ID_BYTES = 16

_TYPE_OF_COMMAND = {
    CommandKind.CREATE: EventType.CREATED,
    CommandKind.EDIT: EventType.EDITED,
    CommandKind.START: EventType.STARTED,
    CommandKind.PAUSE: EventType.PAUSED,
    CommandKind.RESUME: EventType.RESUMED,
    CommandKind.UPDATE: EventType.UPDATED,
    CommandKind.ADD_VARIANT: EventType.VARIANT_ADDED,
    CommandKind.CHANGE_VARIANT: EventType.VARIANT_CHANGED,
    CommandKind.SCHEDULE: EventType.SCHEDULE_APPLIED,
    CommandKind.CONCLUDE: EventType.CONCLUDED,
    CommandKind.ROLLBACK: EventType.ROLLED_BACK,
    CommandKind.ARCHIVE: EventType.ARCHIVED,
}


@dataclass(frozen=True, slots=True)
class Event:
    """An event that receivers are sent.

    Attributes:
        message_id: Id of the message: the same however often it is sent, and whenever its decision
            is read.
        type: Its type.
        at_ms: Time of the reported change, in milliseconds since the epoch.
        experiment: The experiment as a 64-bit number; None of a test.
        data: The rest, as JSON values.
        tags: Tags of the experiment when it was decided; none of a test.
    """

    message_id: str
    type: EventType
    at_ms: int
    experiment: int | None
    data: Mapping[str, Any]
    tags: Tags = ()

    def body(self) -> bytes:
        """Return the body in the format of Standard Webhooks."""
        at_ms = min(self.at_ms, LAST_MS)
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return orjson.dumps(
            {
                "type": self.type.value,
                "timestamp": moment.replace("+00:00", "Z"),
                "data": dict(self.data),
            }
        )

    def is_for(self, definition: WebhookDefinition) -> bool:
        """Return whether a webhook has chosen its type, its experiment and one of its tags."""
        if not matches(definition.events, self.type.value):
            return False
        if definition.tags and not set(definition.tags).intersection(self.tags):
            return False
        return not definition.experiments or any(
            _number(each) == self.experiment for each in definition.experiments
        )


def event_of(
    decision: Decision, directory: ExperimentDirectory, recorded_at_ms: int
) -> Event | None:
    """Return the event of a decision; None for one that receivers do not need.

    Args:
        decision: The decision.
        directory: Has applied all earlier commands.
        recorded_at_ms: Time of its record by Kafka.
    """
    event_type = _type_of(decision, directory)
    if event_type is None:
        return None
    experiment = directory.get(decision.experiment)
    data: dict[str, Any] = {
        "experiment": _named(decision.experiment, experiment),
        "version": decision.version,
    }
    if decision.kind == "command":
        data |= _of_command(decision, experiment, directory)
    elif decision.kind != CONCLUSION:
        data |= _of_action(decision, experiment)
    command_id = str(decision.evidence.get("commandId", ""))
    tags = directory.tags_at(decision.experiment, command_id, recorded_at_ms)
    return Event(message_id(decision), event_type, decision.at_ms, decision.experiment, data, tags)


def test_event(test_id: str, webhook_id: str, at_ms: int) -> Event:
    """Return the event of a test."""
    return Event(f"msg_{test_id}", EventType.TEST, at_ms, None, {"webhookId": webhook_id})


test_event.__test__ = False  # type: ignore[attr-defined]


def message_id(decision: Decision) -> str:
    """Return the id of the message of a decision.

    It is derived from the decision: one that a worker logs again after a crash, or that has another
    offset in a rewritten log, has the same id. So has a recommended action that two workers log
    around a rebalance, maybe on other cells: it has the same number among those of its experiment.
    """
    number = decision.evidence.get("number")
    identity = (
        decision.experiment,
        decision.kind,
        *((decision.version, decision.at_ms) if number is None else ("number", str(number))),
        str(decision.evidence.get("commandId", "")),
        str(decision.evidence.get("generation", "")),
    )
    digest = blake2b(orjson.dumps(identity), digest_size=_ID_BYTES, person=_PERSON)
    return f"msg_{digest.hexdigest()}"


def _number(name: str) -> int | None:
    try:
        return named_experiment(name)
    except InputError:
        return None


def _type_of(decision: Decision, directory: ExperimentDirectory) -> EventType | None:
    if decision.kind == CONCLUSION:
        return EventType.REPORTED
    if decision.kind != "command":
        return EventType.RECOMMENDATION_CHANGED
    command = decision.evidence.get("command")
    if command == CommandKind.TICK:
        return None
    if decision.evidence.get("accepted") is not True:
        return EventType.COMMAND_REFUSED
    if command == CommandKind.CONCLUDE:
        arguments = directory.conclusion(str(decision.evidence.get("commandId")))
        if arguments is not None and arguments.is_automatic and arguments.winner is not None:
            return EventType.PROMOTED
    try:
        return _TYPE_OF_COMMAND.get(CommandKind(str(command)))
    except ValueError:
        return None  # of a later release


def _named(number: int, experiment: Experiment | None) -> dict[str, Any]:
    if experiment is None:
        return {"id": experiment_id(number), "key": None, "name": None}
    config = experiment.definition.config
    found: dict[str, Any] = {"id": experiment.id, "key": config.key, "name": config.name}
    return found if config.holdout is None else found | {"holdout": config.holdout.key}


def _variant(number: int, index: int, experiment: Experiment | None) -> dict[str, Any]:
    variants = () if experiment is None else experiment.definition.variants
    name = variants[index].name if 0 <= index < len(variants) else None
    return {"id": variant_id(experiment_id(number), index), "name": name}


def _of_command(
    decision: Decision, experiment: Experiment | None, directory: ExperimentDirectory
) -> dict[str, Any]:
    evidence = decision.evidence
    command_id = str(evidence.get("commandId"))
    found: dict[str, Any] = {
        "command": evidence.get("command"),
        "commandId": command_id,
        "status": evidence.get("status"),
        "author": evidence.get("author", ""),
    }
    if (reason := evidence.get("reason")) is not None:
        found |= {"reason": reason}
    if evidence.get("accepted") is not True:
        return found | {"code": evidence.get("code")}
    if (because := evidence.get("because")) is not None:
        found |= {"because": because}
    arguments = directory.conclusion(command_id)
    if arguments is None:
        return found
    winner = (
        None
        if arguments.winner is None
        else _variant(decision.experiment, arguments.winner, experiment)
    )
    return found | {"winner": winner, "isAutomatic": arguments.is_automatic}


def _of_action(decision: Decision, experiment: Experiment | None) -> dict[str, Any]:
    evidence = decision.evidence
    winner = evidence.get("winner")
    columns = {
        name: found if isinstance(found := evidence.get(name), list) else []
        for name in ("probabilityBest", "expectedLoss", "assignments")
    }
    count = min(map(len, columns.values()))
    return {
        "action": decision.kind,
        "reasonCode": evidence.get("reasonCode"),
        "winner": None
        if not isinstance(winner, int)
        else _variant(decision.experiment, winner, experiment),
        "confidence": evidence.get("confidence"),
        "variants": [
            _variant(decision.experiment, index, experiment)
            | {name: column[index] for name, column in columns.items()}
            for index in range(count)
        ],
    }
