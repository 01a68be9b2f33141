"""Ends of processes, whatever their threads wait for."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import PATIENCE_S

HANGS = """
import threading
from streams.process.exits import end_within
threading.Thread(target=threading.Event().wait).start()
end_within(0.1)
"""


def test_a_process_that_was_asked_to_end_does_not_wait_for_its_threads():
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr
    assert "without waiting for connections" in done.stderr
