"""The registry: an entry lives as long as its stack, and says enough to reach it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from streams.local.plan import EMBEDDED_PARTITIONS, StackPlan
from streams.local.stack_files import (
    find_stack,
    registered,
    stack_directory,
)

PORT = 18080


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def plan(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    return StackPlan("127.0.0.1", PORT, 1, directory)


@pytest.fixture
def overrides(plan):
    return plan.overrides("127.0.0.1:1234", "redis://127.0.0.1:5678/0", {})


def test_a_registered_stack_is_found_with_its_servers_and_its_key(plan, overrides):
    with registered(plan, overrides):
        stack = find_stack(PORT)

        assert stack is not None
        settings = stack.as_settings()
        assert settings.kafka_url == "127.0.0.1:1234"
        assert settings.redis_url == "redis://127.0.0.1:5678/0"
        assert settings.partitions == EMBEDDED_PARTITIONS
        assert settings.signing_keys == Path(overrides["RECEIPT_KEYS_FILE"]).read_text()


def test_a_stack_that_has_ended_is_not_found(plan, overrides):
    with registered(plan, overrides):
        pass

    assert find_stack(PORT) is None


def test_an_entry_of_a_killed_stack_is_not_believed(plan, overrides):
    with registered(plan, overrides):
        path = stack_directory() / f"{PORT}.json"
        entry = json.loads(path.read_text())
        path.write_text(json.dumps(entry | {"started_at": entry["started_at"] - 1000}))

        assert find_stack(PORT) is None


def test_an_entry_holds_no_secret_and_is_for_its_owner_alone(plan, overrides):
    with registered(plan, overrides):
        path = stack_directory() / f"{PORT}.json"

        secret = Path(overrides["RECEIPT_KEYS_FILE"]).read_text().partition(":")[2]
        assert secret.strip() not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unreadable_entry_is_no_stack():
    stack_directory().mkdir(parents=True)
    (stack_directory() / f"{PORT}.json").write_text("{")

    assert find_stack(PORT) is None
