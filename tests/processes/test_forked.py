"""A forked process is to those who started it what an executed one is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.processes.forked import ForkServer, forking

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux alone")

API = (sys.executable, "-m", "api")
WORKER = (sys.executable, "-m", "streams.worker")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("command", "is_fork"),
    [
        (API, True),
        ((*WORKER,), True),
        ([sys.executable, "-m", "streams.cli", "replay", "verify"], True),
        ([sys.executable, "-m", "streams.cli", "up"], False),
        ([sys.executable, "-m", "pip"], False),
        ([sys.executable, "-P", "-m", "api"], False),
        (["experiment", "list"], False),
    ],
)
def test_processes_of_the_engine_are_forks_but_for_whole_stacks(
    server: ForkServer, command: Any, is_fork: bool
) -> None:
    assert server.suits(command, os.environ) is is_fork


def test_a_process_that_inherits_descriptors_is_executed(server: ForkServer) -> None:
    with Path(os.devnull).open() as inherited:
        number = inherited.fileno()
        with (
            patch.object(server, "fork", side_effect=AssertionError("forked")),
            forking(server)(
                [*API, "--help"],
                env=os.environ | {"EXPERIMENT_API_PORT": "none"},
                pass_fds=[number],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as started,
        ):
            assert started.wait() == 2


def test_a_process_with_other_packages_is_not_forked(server: ForkServer) -> None:
    assert not server.suits(API, os.environ | {"PYTHONPATH": "/other"})


def test_it_ends_and_says_what_an_executed_one_does(server: ForkServer, tmp_path: Path) -> None:
    variables = os.environ | {"EXPERIMENT_API_PORT": "none"}

    ends = []
    for command in ((*API,), (sys.executable, "-B", *API[1:])):  # of these the first is a fork
        with forking(server)(
            command, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as started:
            ends.append((*started.communicate(), started.returncode))

    assert ends[0][2] == 2
    assert ends[0] == ends[1]


def test_it_is_a_child_that_leads_its_session_and_is_killed(
    server: ForkServer, tmp_path: Path
) -> None:
    variables = os.environ | {"EXPERIMENT_KAFKA_URL": "127.0.0.1:1"}
    with (tmp_path / "log").open("wb") as log:
        started = forking(server)(
            WORKER, env=variables, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        assert os.getsid(started.pid) in {started.pid, os.getsid(0)}  # it may not have come so far
        assert started.poll() is None
    finally:
        started.kill()

    assert started.wait() == -signal.SIGKILL
