"""Tests of the embedded broker's executable, by processes that start at the same moment."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PROCESSES = 4
RUN = """
import subprocess, sys
from streams.local.tansu import binary
print("ready", flush=True)
sys.stdin.readline()
sys.exit(subprocess.run([binary(), "--version"], capture_output=True).returncode)
"""


def start(home: Path) -> subprocess.Popen[bytes]:
    """Return a process that resolves the executable and runs it once its input has a line."""
    return subprocess.Popen(
        (sys.executable, "-c", RUN),
        env=os.environ | {"HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("attempt", range(5))
def test_processes_that_start_together_on_a_new_machine_all_run_it(
    tmp_path: Path, attempt: int
) -> None:
    processes = [start(tmp_path) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    with ThreadPoolExecutor(PROCESSES) as pool:
        ends = list(pool.map(lambda process: process.communicate(b"\n"), processes))
    assert [process.returncode for process in processes] == [0] * PROCESSES, ends
