"""Tests of one process find nothing that the one before has set; they run in this order."""

from __future__ import annotations

import logging
import os
import sys

from streams.process.logs import EscapingFormatter, configure_logging


def test_a_command_sets_up_its_process() -> None:
    configure_logging("DEBUG")
    os.environ["EXPERIMENT_LEFT_BEHIND"] = "1"


def test_what_the_test_before_has_set_up_is_undone() -> None:
    root = logging.getLogger()

    assert logging.getLogger("httpx").level == logging.NOTSET
    assert root.level == logging.WARNING
    assert not any(isinstance(one.formatter, EscapingFormatter) for one in root.handlers)
    assert sys.excepthook is sys.__excepthook__
    assert "EXPERIMENT_LEFT_BEHIND" not in os.environ
