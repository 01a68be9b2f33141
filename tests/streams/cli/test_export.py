"""The end of an export that is stopped."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import export
from streams.cli.main import app
from tests.patience import PATIENCE_S

NOWHERE = ["--to", "parquet:rows", "--api", "http://127.0.0.1:1"]


class Stopped:
    """An export that is sent a signal after some rows."""

    rows = 7
    number = signal.SIGTERM

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def once(self, stop: Any) -> None:
        os.kill(os.getpid(), self.number)
        assert stop.wait(PATIENCE_S)

    def follow(self, stop: Any, interval: float) -> None:
        del interval
        self.once(stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_export_that_is_stopped_early_does_not_end_as_if_it_were_complete(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    monkeypatch.setattr(export, "_export_class", lambda: Stopped)
    monkeypatch.setattr(Stopped, "number", number)
    monkeypatch.setenv("EXPERIMENT_RECEIPT_KEYS", "1:" + "ab" * 32)

    result = CliRunner().invoke(app, ["export", *NOWHERE])

    assert result.exit_code == 130
    assert "7 rows" in result.stdout
    assert "a later call continues from there" in result.stderr


def test_an_export_that_follows_is_ended_by_a_signal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "_export_class", lambda: Stopped)
    monkeypatch.setenv("EXPERIMENT_RECEIPT_KEYS", "1:" + "ab" * 32)

    result = CliRunner().invoke(app, ["export", "--follow", *NOWHERE])

    assert result.exit_code == 0
