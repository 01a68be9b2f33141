"""One API process, configured by the environment alone."""

from __future__ import annotations

import logging
import sys

import uvloop

from api.app import running_api
from api.http.server import http_limits, http_server, listening_socket
from streams.model.errors import ConfigurationError, DependencyError
from streams.process.exits import end_within
from streams.process.logs import configure_logging
from streams.settings import Settings, load_settings

EXIT_CONFIGURATION = 2
EXIT_DEPENDENCY = 1

_log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM, drain, and return the exit code: 2 on a configuration error."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        uvloop.run(_serve(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except DependencyError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_DEPENDENCY
    return 0


async def _serve(settings: Settings) -> None:
    async with running_api(settings) as app:
        is_shared = bool(settings.api_process)
        with listening_socket(
            settings.api_host, settings.api_port, is_shared=is_shared
        ) as listening:
            host, port, *_ = listening.getsockname()
            _log.info("listening on %s port %d", host, port)

            def stop() -> None:
                end_within()
                app.end_streams()

            server = http_server(app, http_limits(settings), app.counters.errors, stop)
            await server.serve([listening])
