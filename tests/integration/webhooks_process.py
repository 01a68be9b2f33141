"""The process of webhooks, started and killed by a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streams.settings import Settings
from tests.integration.engine_ledger import environment
from tests.patience import PATIENCE_S

KEY = "a" * 43 + "="
"""Key that seals."""


@dataclass
class Webhooks:
    """The process.

    Attributes:
        settings: Its settings.
        process: The process; None while it does not run.
    """

    settings: Settings
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.webhooks"],
            env=os.environ | environment(self.settings),
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(PATIENCE_S)


@contextmanager
def webhooks_of(settings: Settings) -> Iterator[Webhooks]:
    """Run the process of webhooks of an installation, whose topics are there."""
    running = Webhooks(settings)
    running.start()
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)
