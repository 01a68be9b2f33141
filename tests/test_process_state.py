"""Tests of one process find nothing that the one before has set; they run in this order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys

from schemas import library
from streams.fold.garbage_collection import collect_seldom
from streams.process.logs import EscapingFormatter, configure_logging

THRESHOLDS = gc.get_threshold()
COMMAND_VERSION = library.current("command").version


def test_a_command_sets_up_its_process() -> None:
    configure_logging("DEBUG")
    os.environ["EXPERIMENT_LEFT_BEHIND"] = "1"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a child would inherit it
    collect_seldom()


def test_what_the_test_before_has_set_up_is_undone() -> None:
    root = logging.getLogger()

    assert logging.getLogger("httpx").level == logging.NOTSET
    assert root.level == logging.WARNING
    assert not any(isinstance(one.formatter, EscapingFormatter) for one in root.handlers)
    assert sys.excepthook is sys.__excepthook__
    assert "EXPERIMENT_LEFT_BEHIND" not in os.environ
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == THRESHOLDS


def test_a_further_version_of_schemas_is_there(next_version: None) -> None:
    assert library.current("command").version == COMMAND_VERSION + 1


def test_a_further_version_of_schemas_is_gone() -> None:
    assert library.current("command").version == COMMAND_VERSION
