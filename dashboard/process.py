"""One dashboard process, configured by the environment alone."""

from __future__ import annotations

import logging
import time

from starlette.applications import Starlette

from api.http.server import http_limits, http_server, listening_socket
from dashboard.app import dashboard_app
from streams.process.exits import end_within
from streams.process.metrics_server import start_metrics_server
from streams.process.running import run_process
from streams.settings import ENVIRONMENT_PREFIX, Settings, load_settings

_log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM, and return the exit code: 2 if it must not start."""
    return run_process(load_settings, _serve)


async def _serve(settings: Settings) -> None:
    """Serve with the bounds of the API: a page is as easily kept waiting as an ad server."""
    app = application(settings)
    if settings.dashboard_metrics_port:
        start_metrics_server(
            settings.dashboard_metrics_host,
            settings.dashboard_metrics_port,
            f"{ENVIRONMENT_PREFIX}DASHBOARD_METRICS_PORT",
        )
    with listening_socket(
        settings.dashboard_host, settings.dashboard_port, setting="dashboard_port"
    ) as listening:
        host, port, *_ = listening.getsockname()
        _log.info("listening on %s port %d", host, port)
        async with app.router.lifespan_context(app):
            server = http_server(app, http_limits(settings), on_stop=end_within)
            await server.serve([listening])


def application(settings: Settings) -> Starlette:
    """Return the application as an installation has configured it."""
    return dashboard_app(
        api_url_of(settings),
        host=settings.dashboard_host,
        public_url=settings.dashboard_public_url,
        session_s=settings.dashboard_session_s,
        now_s=time.monotonic,
    )


def api_url_of(settings: Settings) -> str:
    """Return where the dashboard reaches the API."""
    if settings.dashboard_api_url:
        return settings.dashboard_api_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.api_host, settings.api_host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"
