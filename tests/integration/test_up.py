"""`experiment up`: one line when it can be used, one stack a port, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.integration.up_process import STOP_TIMEOUT_S, Up, command, starting, up
from tests.patience import PATIENCE_S, until


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory) -> Iterator[Up]:
    """One stack for the tests that leave it running."""
    with up(tmp_path_factory.mktemp("up")) as stack:
        yield stack


def test_up_is_usable_when_it_says_so_and_leaves_no_process(tmp_path):
    with up(tmp_path) as stack:
        definition = {
            "config": {"name": "first", "type": "thompson_sampling", "primaryMetric": "click"},
            "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
        }
        with httpx.Client(base_url=stack.url, trust_env=False, timeout=PATIENCE_S) as client:
            created = client.post("/experiments", json=definition)
            assert created.status_code == 201, created.text
            experiment_id = created.json()["id"]
            assert client.post(f"/experiments/{experiment_id}/start").is_success
            assigned = client.post(f"/experiments/{experiment_id}/assign", json={"userId": "u"})
            assert assigned.json()["variantName"] in {"a", "b"}
        family = stack.family()

        stack.process.send_signal(signal.SIGTERM)

        assert stack.process.wait(timeout=STOP_TIMEOUT_S) == 0
        assert stack.process.stdout is not None
        assert stack.process.stdout.read() == ""  # the one line was all
        assert len(family) == 7  # broker, Valkey, journal, two workers, API, webhooks
        assert survivors(family) == []


def test_ctrl_c_while_it_starts_leaves_no_process(tmp_path):
    with starting(tmp_path) as stack:
        until((stack.data / "api.log").exists)
        family = stack.family()

        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(timeout=STOP_TIMEOUT_S) == 0
        assert stack.process.stdout is not None
        assert stack.process.stdout.read() == ""
        assert survivors(family) == []


def test_nothing_survives_a_supervisor_that_is_killed(tmp_path):
    with starting(tmp_path) as stack:
        until((stack.data / "api.log").exists)
        family = stack.family()

        stack.process.kill()

        _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
        assert alive == []


def test_a_second_stack_on_the_port_says_so_and_exits_2(long_lived, tmp_path):
    port = int(long_lived.url.rpartition(":")[2])

    second = subprocess.run(
        command(port, tmp_path), capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )

    assert second.returncode == 2
    assert f"port {port} of 127.0.0.1 is already in use" in second.stderr
    assert second.stdout == ""
    assert long_lived.is_ready()


@pytest.mark.parametrize("name", ["worker-1", "api", "valkey", "journal"])
def test_what_dies_is_started_again(long_lived, name):
    dead = long_lived.child(name)

    dead.kill()
    dead.wait(timeout=PATIENCE_S)

    until(lambda: has_child(long_lived, name) and long_lived.is_ready())
    assert f"{name} was ended by signal 9" in (long_lived.data.parent / "stderr").read_text()
    assert long_lived.process.poll() is None


def test_the_death_of_the_broker_stops_an_ephemeral_stack_and_says_what_is_lost(tmp_path):
    with up(tmp_path, "--ephemeral") as stack:
        family = stack.family()

        stack.child("broker").kill()

        assert stack.process.wait(timeout=STOP_TIMEOUT_S) == 70
        assert "Its log was in memory" in (tmp_path / "stderr").read_text()
        assert survivors(family) == []


def has_child(stack: Up, name: str) -> bool:
    try:
        return stack.child(name).is_running()
    except (ValueError, OSError, psutil.NoSuchProcess):  # between two lives
        return False


def survivors(family: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if process.is_running()]


def test_sighup_has_every_process_read_the_receipt_keys_again(tmp_path):
    with up(tmp_path) as stack:
        file = stack.data / "receipt-keys"
        file.write_text(f"2:{'c3' * 32}\n{file.read_text()}")
        stack.process.send_signal(signal.SIGHUP)
        logs = [stack.data / f"{name}.log" for name in ("api", "worker-1", "worker-2")]
        said = "receipt keys read again: key 2 signs, 1 besides verifies"
        until(lambda: all(said in log.read_text() for log in logs))

        assert stack.is_ready()
        assert stack.process.poll() is None
