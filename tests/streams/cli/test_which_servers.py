"""Which servers a command asks when a stack runs beside it: the ones that the environment names."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import randrange
from typing import Any

import httpx
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from streams.cli import imports
from streams.cli.main import app
from streams.cli.terminal import API_DEFAULT
from streams.local.plan import StackPlan
from streams.local.stack_files import registered

EXPERIMENT = "exp_0000000000001"
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "archive run": ("--to", "archive"),
    "dead-letters list": (),
    "dead-letters show": ("observations:0:1",),
    "dead-letters resend": ("--code", "FORGED_RECEIPT", "--yes"),
    "doctor": ("--json",),
    "evaluate": (EXPERIMENT,),
    "export": ("--to", "parquet:warehouse"),
    "import open-bandit": (),
    "receipts rebuild": (),
    "receipts status": (),
    "replay rebuild drop": ("2",),
    "replay rebuild start": (),
    "replay rebuild status": (),
    "replay rebuild switch": ("2",),
    "replay verify": (),
    "replay what-if": ("--experiment", EXPERIMENT),
    "schemas enable": (),
    "schemas status": (),
}
"""Arguments of each command that asks Kafka or Redis."""

OF_THE_API = {
    "dashboard", "history",
    "archive ID", "assign", "conclude", "create", "edit", "expose", "holdout archive",
    "holdout create", "holdout end", "holdout list", "holdout stats", "list", "observe", "pause",
    "resume", "rollback", "start", "stats", "timeseries", "variant add", "variant configure",
    "variant reactivate", "variant rename", "variant stop", "void", "webhooks create",
    "webhooks delete", "webhooks list", "webhooks show", "webhooks test", "webhooks update",
}  # fmt: skip
"""Commands that ask the API alone."""


@dataclass(frozen=True)
class Pair:
    """Addresses that close every connection, and the names of those that had one."""

    kafka: str
    redis: str
    asked: set[str] = field(default_factory=set)

    @property
    def redis_url(self) -> str:
        return f"redis://user:secret@{self.redis}/0"


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Listen on a separate loopback address.

    On 127.0.0.1 a client of another test may still look for the server that had the port before.
    """
    host = ".".join(map(str, (127, *(randrange(1, 255) for _ in range(3)))))
    asked: set[str] = set()
    servers = []
    for name in ("kafka", "redis"):

        class Closing(socketserver.BaseRequestHandler):
            who = name

            def handle(self) -> None:
                asked.add(self.who)

        servers.append(socketserver.ThreadingTCPServer((host, 0), Closing))
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        kafka, redis = (f"{host}:{server.server_address[1]}" for server in servers)
        yield Pair(kafka, redis, asked)
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass(frozen=True)
class Beside:
    """A registered stack, and the servers that the environment can name."""

    stack: Pair
    own: Pair
    api: str

    def run(self, command: str, *options: str) -> Result:
        return CliRunner().invoke(app, [*command.split(), *ARGUMENTS[command], *options])


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EXPERIMENT_KAFKA_TIMEOUT_S", "0.2")
    for name in ("KAFKA_URL", "REDIS_URL", "API_URL", "RECEIPT_KEYS_FILE"):
        monkeypatch.delenv(f"EXPERIMENT_{name}", raising=False)
    monkeypatch.setenv("EXPERIMENT_RECEIPT_KEYS", f"1:{'5a' * 32}")

    def no_download(*_: object) -> None:
        raise typer.Exit(1)

    monkeypatch.setattr(imports, "fetch_wheel", no_download)
    # It is where commands look that name no API; nothing has to listen there.
    plan = StackPlan("127.0.0.1", httpx.URL(API_DEFAULT).port or 0, 1, tmp_path)
    with pair() as stack, pair() as own:
        overridden = plan.overrides(stack.kafka, stack.redis_url, {})
        with registered(plan, overridden):
            yield Beside(stack, own, plan.url)


def commands(group: Any, *path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every command below, with the names of its parameters."""
    if hasattr(group, "commands"):
        for name, command in group.commands.items():
            yield from commands(command, *path, name)
    else:
        yield " ".join(path), [parameter.name for parameter in group.params]


def test_every_command_that_looks_a_stack_up_is_tried_here() -> None:
    found = {name for name, parameters in commands(get_command(app)) if "api" in parameters}

    assert found == ARGUMENTS.keys() | OF_THE_API


@pytest.mark.parametrize("gives_api", [False, True], ids=["", "--api"])
@pytest.mark.parametrize("command", ARGUMENTS)
def test_the_kafka_and_redis_of_the_environment_are_asked_and_said(
    beside: Beside, monkeypatch: pytest.MonkeyPatch, command: str, gives_api: bool
) -> None:
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", beside.own.kafka)
    monkeypatch.setenv("EXPERIMENT_REDIS_URL", beside.own.redis_url)

    done = beside.run(command, *(("--api", beside.api) if gives_api else ()))

    assert f"Kafka {beside.own.kafka}, " in done.stderr
    assert f"Redis {beside.own.redis}/0 of the EXPERIMENT_ settings" in done.stderr
    assert "not the embedded stack" in done.stderr
    assert "secret" not in done.output
    assert beside.stack.asked == set()
    if command != "import open-bandit":  # which asks the API first
        assert beside.own.asked, done.output


@pytest.mark.parametrize("command", ARGUMENTS)
def test_one_of_the_two_is_enough_and_no_installation_is_mixed_with_another(
    beside: Beside, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("EXPERIMENT_REDIS_URL", beside.own.redis_url)

    done = beside.run(command)

    assert f"Kafka localhost:9092, Redis {beside.own.redis}/0 of the" in done.stderr
    assert beside.stack.asked == set()


@pytest.mark.parametrize("command", ARGUMENTS)
def test_where_the_environment_names_neither_the_stack_is_asked_and_said(
    beside: Beside, command: str
) -> None:
    done = beside.run(command)

    assert f"Kafka {beside.stack.kafka}, " in done.stderr
    assert "of the embedded stack on port" in done.stderr
    if command != "import open-bandit":
        assert beside.stack.asked, done.output


def test_topics_are_made_where_the_environment_says_and_nowhere_else(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", beside.own.kafka)

    done = CliRunner().invoke(app, ["topics", "create"])

    assert f"Kafka {beside.own.kafka}, " in done.stderr
    assert (beside.stack.asked, beside.own.asked) == (set(), {"kafka"})
