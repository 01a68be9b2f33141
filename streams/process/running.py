"""Start of a process that serves, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import uvloop

from streams.model.errors import ConfigurationError, DependencyError
from streams.process.exits import EXIT_CONFIGURATION
from streams.process.logs import configure_logging

EXIT_DEPENDENCY = 1
"""Exit status of a process that has waited for a dependency for too long."""


class LogSettings(Protocol):
    """Settings that say what is logged."""

    @property
    def log_level(self) -> str:
        """Lowest level of the log."""


Loaded = TypeVar("Loaded", bound=LogSettings)


def run_process(
    load: Callable[[], Loaded],
    serve: Callable[[Loaded], Coroutine[Any, Any, None]],
    *,
    run: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run,
    on_outage: Callable[[str], object] = lambda _: None,
) -> int:
    """Serve until the process is asked to end, and return its exit code.

    Args:
        load: Returns the settings of the process, from the environment.
        serve: Serves with these settings.
        run: Runs it in an event loop.
        on_outage: Called with the reason if a dependency has not answered for too long; may end the
            process. Else the reason is written to stderr, as that of a configuration error is.
    """
    try:
        settings = load()
        configure_logging(settings.log_level)
        run(serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except DependencyError as error:
        on_outage(str(error))
        sys.stderr.write(f"{error}\n")
        return EXIT_DEPENDENCY
    return 0
