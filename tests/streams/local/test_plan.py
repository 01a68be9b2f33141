"""A plan: refuses ports that are taken, and gives all children consistent settings."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from streams.local.children import free_port
from streams.local.plan import StackPlan, generated_receipt_keys
from streams.model.errors import ConfigurationError


def plan(tmp_path, **changes) -> StackPlan:
    defaults = {"host": "127.0.0.1", "port": free_port(), "workers": 1, "directory": tmp_path}
    return StackPlan(**(defaults | changes))


def test_a_port_in_use_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = plan(tmp_path, port=server.getsockname()[1])

        with pytest.raises(ConfigurationError, match="already in use"):
            taken.check_port()


def test_an_address_of_another_machine_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        plan(tmp_path, host="192.0.2.1").check_port()


def test_two_stacks_cannot_share_a_directory(tmp_path):
    with (
        plan(tmp_path).owned_directory(),
        pytest.raises(ConfigurationError, match="another stack"),
        plan(tmp_path).owned_directory(),
    ):
        pass


def test_the_directory_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with plan(tmp_path).owned_directory():
            pass


def test_the_receipt_key_is_made_once_and_for_its_owner_alone(tmp_path):
    first = generated_receipt_keys(tmp_path)

    assert generated_receipt_keys(tmp_path) == first
    key_id, _, secret = first.read_text().partition(":")
    assert key_id == "1"
    assert len(bytes.fromhex(secret)) == 32
    assert stat.S_IMODE((tmp_path / "receipt-keys").stat().st_mode) == 0o600


def test_a_key_that_the_disk_does_not_take_is_not_there_in_part(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            generated_receipt_keys(tmp_path)

    assert [*tmp_path.iterdir()] == []
    assert generated_receipt_keys(tmp_path).read_text().startswith("1:")


def test_an_embedded_broker_is_plain_whatever_the_environment_is_for(tmp_path):
    environment = {"EXPERIMENT_SECURITY_PROTOCOL": "SASL_SSL", "EXPERIMENT_PARTITIONS": "2"}

    told = plan(tmp_path).overrides("127.0.0.1:1", "redis://127.0.0.1:2/0", environment)

    assert told["SECURITY_PROTOCOL"] == "PLAINTEXT"
    assert told["PARTITIONS"] == "2"


@pytest.mark.parametrize(
    ("workers", "kept", "expected"),
    [(1, None, "2"), (3, None, "3"), (3, 2, "2"), (1, 4, "4")],
    ids=["new", "new, for more workers", "kept, more workers", "kept"],
)
def test_a_log_keeps_its_partitions_and_a_new_one_has_few(tmp_path, workers, kept, expected):
    overrides = plan(tmp_path, workers=workers).overrides("127.0.0.1:1", "redis://r", {}, kept)

    assert overrides["PARTITIONS"] == expected


@pytest.mark.parametrize(
    ("kept", "entries"), [(1, "4000000"), (2, "2000000"), (4, "1000000"), (9, "1000000")]
)
def test_as_many_events_are_remembered_whatever_the_partitions(tmp_path, kept, entries):
    overrides = plan(tmp_path).overrides("127.0.0.1:1", "redis://r", {}, kept)

    assert overrides["DEDUPLICATION_MAX_ENTRIES"] == entries


def test_a_bound_of_remembered_events_in_the_environment_stands(tmp_path):
    environment = {"EXPERIMENT_DEDUPLICATION_MAX_ENTRIES": "5000"}

    overrides = plan(tmp_path).overrides("127.0.0.1:1", "redis://r", environment)

    assert overrides["DEDUPLICATION_MAX_ENTRIES"] == "5000"


def test_a_given_cluster_keeps_the_settings_of_the_environment(tmp_path):
    given = plan(tmp_path, kafka_url="broker:9093")

    told = given.overrides("broker:9093", "redis://cache", {"EXPERIMENT_RECEIPT_KEYS": "7:00"})

    assert told.keys() == {
        "KAFKA_URL", "REDIS_URL", "API_HOST", "API_PORT", "DATA_DIR", "SPOOL_DIR",
        "DASHBOARD_HOST", "DASHBOARD_PORT", "DASHBOARD_API_URL", "WEBHOOK_KEYS_FILE",
    }  # fmt: skip


def test_a_stack_on_every_address_is_reached_over_loopback(tmp_path):
    everywhere = plan(tmp_path, host="0.0.0.0", port=8080)

    assert everywhere.url == "http://0.0.0.0:8080"
    assert everywhere.local_url == "http://127.0.0.1:8080"
    assert plan(tmp_path, host="::", port=8080).local_url == "http://[::1]:8080"


def test_workers_on_one_machine_do_not_share_a_metrics_port(tmp_path):
    name = "EXPERIMENT_WORKER_METRICS_PORT"

    told = plan(tmp_path, workers=3).worker_environments({name: "9100", "OTHER": "kept"})

    assert [environment[name] for environment in told] == ["9100", "9101", "9102"]
    assert {environment["OTHER"] for environment in told} == {"kept"}
    assert plan(tmp_path).worker_environments({}) == [{name: "0"}]
