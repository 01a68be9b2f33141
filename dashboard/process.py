"""One dashboard process, configured by the environment alone."""

from __future__ import annotations

import logging
import signal
import sys
import time

import uvicorn

from dashboard.app import dashboard_app
from streams.model.errors import ConfigurationError
from streams.process.logs import configure_logging
from streams.settings import Settings, load_settings

EXIT_CONFIGURATION = 2

GRACE_S = 1
"""Longest time that open pages are waited for at the end: their streams have none."""

_log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM, and return the exit code: 2 if it must not start."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        server = uvicorn.Server(server_config(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    # uvicorn sends itself again what ended it, for handlers from before; without one, the process
    # would not end with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run()
    return 0 if server.started else EXIT_CONFIGURATION


def server_config(settings: Settings) -> uvicorn.Config:
    """Return the configuration of the server."""
    app = dashboard_app(
        api_url_of(settings),
        host=settings.dashboard_host,
        public_url=settings.dashboard_public_url,
        session_s=settings.dashboard_session_s,
        now_s=time.monotonic,
    )
    return uvicorn.Config(
        app,
        host=settings.dashboard_host,
        port=settings.dashboard_port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def api_url_of(settings: Settings) -> str:
    """Return where the dashboard reaches the API."""
    if settings.dashboard_api_url:
        return settings.dashboard_api_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.api_host, settings.api_host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"
