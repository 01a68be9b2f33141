"""One API process, configured by the environment alone."""

from __future__ import annotations

import logging

from api.app import running_api
from api.http.server import http_limits, http_server, listening_socket
from streams.process.exits import end_within
from streams.process.running import run_process
from streams.settings import Settings, load_settings

_log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM, drain, and return the exit code: 2 on a configuration error."""
    return run_process(load_settings, _serve)


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
