"""Every task of a worker is vital: one that fails ends the process, and it is started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.engine_ledger import environment
from tests.patience import PATIENCE_S

PROGRAM = """
import importlib, sys
module, name, method, how = sys.argv[1:]

async def broken(*_):
    if how == "raises":
        raise ZeroDivisionError("injected")

owner = importlib.import_module(module)
setattr(getattr(owner, name) if name else owner, method, broken)
from streams.worker.main import main
main()
"""

TASKS = {
    "emitter": ("streams.worker.emitter", "CellEmitter", "run"),
    "publisher": ("streams.worker.publisher", "SnapshotPublisher", "run"),
    "take-over": ("streams.worker.take_over", "TakeOver", "run"),
    "projector": ("streams.worker.projector", "Projector", "run"),
    "heartbeat": ("streams.worker.projector", "Projector", "send_heartbeats"),
    "generations": ("streams.worker.generation_follower", "GenerationFollower", "run"),
    "recovery": ("streams.worker.recovery_monitor", "", "monitor_recovery"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_worker_whose_task_fails_ends_with_70_and_says_which(
    settings: Settings, tmp_path: Path, task: str
) -> None:
    create_topics(settings)
    how = "returns" if task in {"emitter", "recovery"} else "raises"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *TASKS[task], how],
        env=environment(settings) | {"PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 70, done.stderr[-2000:]
    verb = "returned" if how == "returns" else "failed"
    assert f"the task {task} {verb}" in done.stderr
