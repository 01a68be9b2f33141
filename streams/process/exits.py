"""Exit codes and messages of a process that cannot continue."""

from __future__ import annotations

import logging
import os
import threading
from typing import NoReturn

EXIT_CODE = 70
"""Exit status of a process that cannot go on (EX_SOFTWARE); a process manager starts it again."""

EXIT_CONFIGURATION = 2
"""Exit status of a worker that must not run here: its settings or its release do not fit."""

LOG_PATIENCE_S = 3.0
"""Longest wait for the last lines of the log."""

logger = logging.getLogger(__name__)


def die(reason: str) -> NoReturn:
    """End the process at once, without a shutdown: Faust's would acknowledge what it stops.

    It ends even if nothing can be logged, as when the pipe that the log goes to is not read.
    """
    end_soon()
    logger.critical("exit %d: %s", EXIT_CODE, reason)
    logging.shutdown()
    os._exit(EXIT_CODE)


def refuse(reason: str) -> NoReturn:
    """End the process at once, as one that must not run here: starting it again does not help."""
    logger.critical("exit %d: %s", EXIT_CONFIGURATION, reason)
    logging.shutdown()
    os._exit(EXIT_CONFIGURATION)


def end_soon() -> None:
    """Have the process end within `LOG_PATIENCE_S`, whatever its threads wait for meanwhile."""
    timer = threading.Timer(LOG_PATIENCE_S, os._exit, (EXIT_CODE,))
    timer.daemon = True
    timer.start()


def leave() -> NoReturn:
    """End the process as it was asked to, without waiting for its threads."""
    logging.shutdown()
    os._exit(0)
