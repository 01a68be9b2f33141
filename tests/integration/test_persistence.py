"""A stack that is started again has every experiment, count and receipt, however it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from schemas.catalogue import DECISIONS
from streams.kafka.records import all_records
from streams.kafka.source import KafkaSource
from streams.local.journal.store import Journal, JournalRecord
from streams.local.plan import StackPlan, journal_of
from streams.local.stack_files import RunningStack
from streams.model.errors import ConfigurationError
from streams.wire.decisions import decode_decision
from tests.integration.up_process import STOP_TIMEOUT_S, Up, starting, up
from tests.patience import PATIENCE_S, until

LOST_S = 1.0
"""Longest time before a sudden end of which something that was accepted may be lost."""

USERS = 60


@dataclass
class Accepted:
    """Assignments and observations that a stack has accepted, by monotonic seconds.

    Attributes:
        assigned, observed: Times of the answers.
        receipts: First answer of every user.
    """

    assigned: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    receipts: dict[str, str] = field(default_factory=dict)

    def ask(self, client: httpx.Client, experiment: str, user: str) -> dict[str, Any]:
        answer = client.post(f"/experiments/{experiment}/assign", json={"userId": user})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        if user not in self.receipts:
            self.assigned.append(time.monotonic())
            self.receipts[user] = found["id"]
        return found

    def click(self, client: httpx.Client, user: str) -> None:
        body = {"assignmentId": self.receipts[user], "metric": "click", "value": 1}
        answer = client.post("/observations", json=body | {"eventId": f"click-{user}"})
        assert answer.is_success, answer.text
        self.observed.append(time.monotonic())


def client_of(stack: Up) -> httpx.Client:
    return httpx.Client(base_url=stack.url, trust_env=False, timeout=PATIENCE_S)


def created(client: httpx.Client, policy: str) -> str:
    definition = {
        "config": {"name": policy, "type": policy, "primaryMetric": "click", "unit": "user"},
        "variants": [{"name": "a", "isControl": True}, {"name": "b", "config": {"ad": 7}}],
    }
    answer = client.post("/experiments", json=definition)
    assert answer.status_code == 201, answer.text
    experiment: str = answer.json()["id"]
    assert client.post(f"/experiments/{experiment}/start").is_success
    return experiment


def totals(client: httpx.Client, experiment: str) -> tuple[int, int]:
    stats = client.get(f"/experiments/{experiment}/stats").json()
    return stats["totalAssignments"], stats["totalObservations"]


def settings_of(stack: Up, tmp_path: Path) -> Any:
    port = stack.url.rpartition(":")[2]
    [entry] = (tmp_path / "state").rglob(f"{port}.json")
    return RunningStack(**json.loads(entry.read_text())).as_settings()


def logged_commands(stack: Up, tmp_path: Path) -> Counter[str]:
    """Return how often `decisions` has each decision about a command."""
    source = KafkaSource(settings_of(stack, tmp_path))
    found = (decode_decision(record.value) for _, record in all_records(source, DECISIONS.name))
    return Counter(each.evidence["commandId"] for each in found if each.kind == "command")


def verified(stack: Up, tmp_path: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "streams.cli", "replay", "verify", "--json", "--api", stack.url],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_stack_goes_on_after_ctrl_c_and_after_everything_was_killed(tmp_path):
    accepted = Accepted()
    with up(tmp_path) as first, client_of(first) as client:
        bandit, shipped = created(client, "thompson_sampling"), created(client, "bayesian_ab")
        for number in range(USERS):
            accepted.ask(client, bandit, f"u{number}")
            if number % 3 == 0:
                accepted.click(client, f"u{number}")
        winner = client.get(f"/experiments/{shipped}").json()["variants"][1]["id"]
        concluded = client.post(
            f"/experiments/{shipped}/conclude", json={"winnerVariantId": winner}
        )
        assert concluded.is_success, concluded.text
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(timeout=PATIENCE_S) == 0

    with up(tmp_path) as second, client_of(second) as client:
        until(lambda: totals(client, bandit) == (USERS, USERS // 3))
        served = client.post(f"/experiments/{shipped}/assign", json={"userId": "u1"}).json()
        assert (served["reason"], served["config"]) == ("SHIPPED", {"ad": 7})
        assert {*logged_commands(second, tmp_path).values()} == {1}
        for number in range(0, USERS, 7):  # who was here before keeps variant and receipt
            assert (
                accepted.ask(client, bandit, f"u{number}")["id"]
                == (accepted.receipts[f"u{number}"])
            )
        accepted.click(client, "u0")  # the same event once more
        accepted.observed.pop()
        killed_at = killed_under_traffic(second, bandit, accepted)

    with up(tmp_path) as third, client_of(third) as client:
        sure = sum(at < killed_at - LOST_S for at in accepted.assigned)
        until(lambda: totals(client, bandit)[0] >= sure)
        report = verified(third, tmp_path)
        assert report["equal"], report
        assigned, observed = totals(client, bandit)
        assert sure <= assigned <= len(accepted.assigned) + 1  # one had no answer
        sure = sum(at < killed_at - LOST_S for at in accepted.observed)
        assert sure <= observed <= len(accepted.observed) + 1
        assert {*logged_commands(third, tmp_path).values()} == {1}
        for number in range(0, USERS, 11):
            found = client.post(
                f"/experiments/{bandit}/assign", json={"userId": f"u{number}"}
            ).json()
            assert found["id"] == accepted.receipts[f"u{number}"]
        assert created(client, "ucb")


def killed_under_traffic(stack: Up, experiment: str, accepted: Accepted) -> float:
    """Kill every process while users ask and click; return when that began."""

    def traffic() -> None:
        with client_of(stack) as client:
            for number in range(USERS, 100 * USERS):
                try:
                    accepted.ask(client, experiment, f"u{number}")
                    accepted.click(client, f"u{number}")
                except httpx.TransportError:
                    return

    asking = threading.Thread(target=traffic)
    asking.start()
    until(lambda: len(accepted.assigned) > 3 * USERS)
    family = stack.family()
    killed_at = time.monotonic()
    stack.process.kill()  # the kernel kills its children with it
    asking.join()
    psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
    return killed_at


def test_ctrl_c_while_the_workers_fold_the_log_ends_the_stack_at_once(tmp_path):
    (tmp_path / "data").mkdir()
    with Journal(journal_of(tmp_path / "data")) as journal:
        records = [JournalRecord("observations", 0, each, 1, None, b"{}") for each in range(100)]
        journal.append(records, {"workers": {("observations", 0): 100}})
    with starting(tmp_path) as stack:
        until(lambda: "workers fold it" in (tmp_path / "stderr").read_text())
        log = stack.data / "worker-1.log"
        until(lambda: log.exists() and "is active" in log.read_text())  # it is asked how far it is
        family = stack.family()

        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(timeout=STOP_TIMEOUT_S) == 0
        assert [process for process in family if process.is_running()] == []


def test_a_stop_without_all_of_the_log_on_the_disk_says_so_and_fails(tmp_path):
    with up(tmp_path) as stack, client_of(stack) as client:
        stack.child("journal").send_signal(signal.SIGSTOP)  # as on a disk that does not answer
        created(client, "thompson_sampling")

        stack.process.send_signal(signal.SIGINT)

        assert stack.process.wait(timeout=STOP_TIMEOUT_S) == 70
    said = (tmp_path / "stderr").read_text()
    assert "the journal was ended by signal 9 before all was written" in said


def test_an_ephemeral_stack_takes_no_directory_of_one_that_persists(tmp_path):
    Journal(journal_of(tmp_path)).close()
    for plan in (
        StackPlan("127.0.0.1", 1, 1, tmp_path, is_ephemeral=True),
        StackPlan("127.0.0.1", 1, 1, tmp_path, kafka_url="broker:9092"),
    ):
        with pytest.raises(ConfigurationError, match="holds the log"), plan.owned_directory():
            pass
    with StackPlan("127.0.0.1", 1, 1, tmp_path).owned_directory():
        pass
