"""How a worker ends that cannot go on."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

EXIT_CODE = 70
"""Exit status of a worker that could not make a batch durable (EX_SOFTWARE); start it again."""

logger = logging.getLogger(__name__)


def die(reason: str) -> NoReturn:
    """End the process at once, without Faust's shutdown, which would acknowledge what it stops."""
    logger.critical("exit %d: %s", EXIT_CODE, reason)
    logging.shutdown()
    os._exit(EXIT_CODE)


def leave() -> NoReturn:
    """End the process as it was asked to, without waiting for its threads."""
    logging.shutdown()
    os._exit(0)
