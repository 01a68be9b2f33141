"""A running `experiment up`, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from streams.local.children import free_port
from tests.patience import PATIENCE_S

READY_TIMEOUT_S = PATIENCE_S
STOP_TIMEOUT_S = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Up:
    """A running `experiment up`."""

    process: subprocess.Popen[str]
    url: str
    data: Path

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, log_name: str) -> psutil.Process:
        """Return the child that writes the log file of that name."""
        log = self.data / f"{log_name}.log"
        [child] = [
            child for child in self.family() if Path(f"/proc/{child.pid}/fd/1").readlink() == log
        ]
        return child

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False, verify=False).is_success
        except httpx.TransportError:
            return False


def command(port: int, data: Path, *options: str) -> list[str]:
    own = ["--port", str(port), "--data-dir", str(data), "--workers", "2"]
    return [sys.executable, "-m", "streams.cli", "up", "--no-dashboard", *own, *options]


@contextmanager
def starting(tmp_path: Path, *options: str) -> Iterator[Up]:
    """A stack whose process has only been started; its stderr is the file of that name."""
    port, data = free_port(), tmp_path / "data"
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command(port, data, *options),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        yield Up(process, f"http://127.0.0.1:{port}", data)
    finally:
        process.kill()
        process.wait()


@contextmanager
def up(tmp_path: Path, *options: str) -> Iterator[Up]:
    """A stack that has said that it is ready; one of the same path before it has left its log."""
    with starting(tmp_path, *options) as stack:
        overdue = threading.Timer(READY_TIMEOUT_S, stack.process.kill)  # ends the readline
        overdue.start()
        assert stack.process.stdout is not None
        line = stack.process.stdout.readline()
        overdue.cancel()
        assert line == f"ready {stack.url}\n", (tmp_path / "stderr").read_text()
        yield stack
