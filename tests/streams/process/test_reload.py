"""SIGHUP never ends a process, not even one that is starting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

HANGS_UP_AT = """
import os, signal, sys

class HangsUp:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, HangsUp())
"""


@pytest.mark.parametrize(
    ("program", "module"),
    [("api", "fastapi"), ("streams.worker", "faust"), ("streams.webhooks", "confluent_kafka")],
)
def test_a_process_that_is_hung_up_on_while_it_imports_goes_on(
    tmp_path: Path, program: str, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANGS_UP_AT.format(module=module))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EXPERIMENT_")
    }

    done = subprocess.run(
        [sys.executable, "-m", program],
        env=environment | {"PYTHONPATH": str(tmp_path), "EXPERIMENT_PARTITIONS": "none"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 2, done.stderr  # and not minus 1, of the signal
    assert "EXPERIMENT_PARTITIONS" in done.stderr
