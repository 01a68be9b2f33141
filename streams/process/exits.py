"""Exit codes and messages of a process that cannot continue."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import NoReturn

EXIT_CODE = 70
"""Exit status of a process that cannot continue (EX_SOFTWARE); a process manager starts it
again."""

EXIT_CONFIGURATION = 2
"""Exit status of a process that must not run here: its settings or its release do not fit."""

LOG_PATIENCE_S = 3.0
"""Longest wait for the last lines of the log."""

STOP_S = 12.0
"""Longest time from a signal to the end of a process. `docker-compose.yml` gives it 15 s."""

logger = logging.getLogger(__name__)

_last_words: list[Callable[[], object]] = []


def before_end(say: Callable[[], object]) -> None:
    """Have `die` call something first, which may take a second and may fail; from any thread."""
    _last_words.append(say)


def die(reason: str) -> NoReturn:
    """End the process at once, without a shutdown: Faust's would acknowledge what it stops.

    It ends even if nothing can be logged, as when the pipe that the log goes to is not read.
    """
    end_soon()
    logger.critical("exit %d: %s", EXIT_CODE, reason)
    for say in _last_words:
        try:
            say()
        except Exception as error:  # noqa: BLE001 - the process ends in any case
            logger.warning("%s", error)
    logging.shutdown()
    os._exit(EXIT_CODE)


def refuse(reason: str) -> NoReturn:
    """End the process at once, as one that must not run here: starting it again does not help."""
    logger.critical("exit %d: %s", EXIT_CONFIGURATION, reason)
    logging.shutdown()
    os._exit(EXIT_CONFIGURATION)


def end_soon(code: int = EXIT_CODE) -> None:
    """Have the process end within `LOG_PATIENCE_S`, whatever its threads wait for meanwhile."""
    _after(LOG_PATIENCE_S, lambda: os._exit(code))


def end_within(seconds: float = STOP_S) -> None:
    """Have the process end as it was asked to, whatever its threads wait for then.

    A client of Kafka that is closed while no broker answers may wait for minutes, and what kills
    the process then does not distinguish it from one that had something to lose.
    """

    def end() -> None:
        end_soon(0)
        logger.warning("exit 0: %.0f s after the signal, without waiting for connections", seconds)
        leave()

    _after(seconds, end)


def _after(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def leave() -> NoReturn:
    """End the process as it was asked to, without waiting for its threads."""
    logging.shutdown()
    os._exit(0)
