"""The table of rights has every command that connects to Kafka, and what the processes check."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from streams.kafka import rights
from streams.kafka.positions import WEBHOOKS_GROUP
from streams.settings import Settings
from tests.brokers.rights import PREFIX, Right, commands, commands_table, rights_table

SETTINGS = Settings(topic_prefix=PREFIX)

WITHOUT_KAFKA_OF_AN_INSTALLATION = {
    "up": "starts its own",
    "demo": "starts its own",
    "dashboard": "asks the API",
    "archive verify": "reads files",
    "keys add": "writes a file",
    "keys list": "reads a file",
    "keys env": "reads the files of an embedded stack",
    "plan": "computes",
}


def _names(command: Any) -> set[str]:
    """Return the names that the function of a command refers to."""
    return set(inspect.unwrap(command.callback).__code__.co_names)


def _asks_the_api_alone(command: Any) -> bool:
    return "connected" in (names := _names(command)) and "settings_of" not in names


def test_every_command_has_its_rights_or_needs_none():
    asking_the_api = {words for words, each in commands().items() if _asks_the_api_alone(each)}

    without = asking_the_api | WITHOUT_KAFKA_OF_AN_INSTALLATION.keys()
    assert commands().keys() - without == commands_table().keys()


def test_a_command_that_reads_the_settings_of_servers_is_seen_by_that():
    """The law above stands on it: both ways to a server are a name in the command's function."""
    assert "settings_of" in _names(commands()["export"])
    assert _asks_the_api_alone(commands()["stats"])
    assert not _asks_the_api_alone(commands()["observe"])  # which asks both


def _granted(user: str) -> dict[tuple[str, str, bool], set[str]]:
    found: dict[tuple[str, str, bool], set[str]] = {}
    for each in rights_table()[user]:
        found.setdefault((each.kind, each.name, each.is_prefix), set()).update(each.operations)
    return found


def _is_granted(user: str, topic: str, operation: str) -> bool:
    return any(
        kind == "topic"
        and operation in operations
        and (topic.startswith(name) if is_prefix else topic == name)
        for (kind, name, is_prefix), operations in _granted(user).items()
    )


@pytest.mark.parametrize(
    ("user", "needed"),
    [
        ("worker", rights.rights_of_worker(SETTINGS)),
        ("worker", rights.optional_rights_of_worker(SETTINGS)),
        ("rebuild", rights.rights_of_worker(SETTINGS.model_copy(update={"generation": 2}))),
        ("api", rights.rights_of_api(SETTINGS)),
        ("operator", rights.rights_of_doctor(SETTINGS)),
        ("webhooks", rights.rights_of_webhooks(SETTINGS)),
    ],
)
def test_what_a_process_checks_is_in_its_row(user, needed):
    missing = [
        f"{operation} on {topic}"
        for topic, operations in needed.items()
        for operation in operations
        if not _is_granted(user, topic, operation)
    ]
    assert missing == []


def test_the_row_of_webhooks_is_what_the_process_asks_for_and_no_more():
    asked = {("topic", *each) for each in rights.rights_of_webhooks(SETTINGS).items()} | {
        ("group", f"{PREFIX}{WEBHOOKS_GROUP}", frozenset({"READ"})),
        ("group", rights.log_group(SETTINGS), frozenset({"DESCRIBE"})),
    }

    row = rights_table()["webhooks"]
    assert {(each.kind, each.name, frozenset(each.operations)) for each in row} == asked


def test_pipelines_may_write_observations_and_nothing_else():
    assert rights_table()["ads"] == [Right("topic", f"{PREFIX}observations", ("WRITE",))]
