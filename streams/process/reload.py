"""SIGHUP: secrets in files are read again, while everything continues."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping

from streams.model.errors import EngineError

logger = logging.getLogger(__name__)


def ignore_hangups() -> None:
    """Ignore SIGHUP until `on_hangup` handles it: by default it ends a process.

    To be called before the imports that take seconds. Files are read after it, so nothing that a
    SIGHUP announces meanwhile is missed.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def on_hangup(reloads: Mapping[str, Callable[[], str]]) -> None:
    """Have files read again at each SIGHUP of this process, on the running event loop.

    What cannot be read or used changes nothing; the log says so.

    Args:
        reloads: By name, each reads one file, takes what is in it, and returns what is to be
            logged: never a secret.
    """

    def reload_all() -> None:
        for name, reload in reloads.items():
            try:
                logger.info("%s read again: %s", name, reload())
            except EngineError as error:
                logger.error("%s cannot be read again, keeping what there was: %s", name, error)  # noqa: TRY400 - the message says all
            except Exception:
                logger.exception("%s cannot be read again, keeping what there was", name)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_all)
