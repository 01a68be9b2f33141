"""Codec of `command`: a request to change an experiment."""

from __future__ import annotations

import re

from schemas.codec import Codec
from streams.model.authors import MAX_AUTHOR, MAX_REASON, Origin, checked
from streams.model.errors import EventError
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id, experiment_number
from streams.model.partitioning import Partition
from streams.model.text import LAYOUT
from streams.wire.homes import check_home
from streams.wire.records import (
    LONG_LIMIT,
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    json_object,
    json_text,
    member,
    read,
)

_COMMAND_ID = re.compile(r"[0-9a-f]{32}")


def encode_command(command: Command, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a command."""
    record = {
        "command_id": command.command_id,
        "experiment_id": experiment_id(command.experiment),
        "kind": command.kind.value,
        "issued_at_ms": command.issued_at_ms,
        "payload": json_text(command.payload),
        "author": command.origin.author,
        "reason": command.origin.reason,
        "expected_version": command.expected_version,
    }
    return codec.encode("command", record)


def decode_command(
    value: bytes | None, partition: Partition, codec: Codec = SINGLE_OBJECT
) -> Command:
    """Return the command in a Kafka record; its payload is an unvalidated JSON object.

    Args:
        value: The bytes; None of a tombstone.
        partition: Partition of `commands` that the record is in.
        codec: How records are framed.

    Raises:
        EventError: the record cannot be read, a field is invalid (author and reason as
            `streams.model.authors.checked`), or the experiment belongs into another partition
            (`MISPLACED`).
    """
    record = read("command", value, codec)
    expected = record["expected_version"]
    with event_errors():
        if not _COMMAND_ID.fullmatch(record["command_id"]):
            raise EventError("WRONG_TYPE", "not 32 lower-case hexadecimal digits", "command_id")
        experiment = experiment_number(record["experiment_id"])
        check_home(experiment, partition)
        return Command(
            command_id=record["command_id"],
            experiment=experiment,
            kind=member(CommandKind, record["kind"], "kind"),
            issued_at_ms=check_range(record["issued_at_ms"], 0, TIME_LIMIT_MS, "issued_at_ms"),
            payload=json_object(record["payload"], "payload"),
            origin=Origin(
                checked(record["author"], MAX_AUTHOR, "author"),
                checked(record["reason"], MAX_REASON, "reason", LAYOUT),
            ),
            expected_version=None
            if expected is None
            else check_range(expected, 1, LONG_LIMIT, "expected_version"),
        )
