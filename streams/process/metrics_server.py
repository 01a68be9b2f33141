"""Metrics over HTTP, on a separate port and from a separate thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from streams.model.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_NO_STORE = ("Cache-Control", "no-store")


def start_metrics_server(
    host: str, port: int, setting: str, registry: CollectorRegistry = REGISTRY
) -> WSGIServer:
    """Serve the metrics of a registry, without asking for a key and for no cache to keep.

    Args:
        host, port: Where to listen.
        setting: Name of the setting that says so, for the error.
        registry: Whose metrics.

    Raises:
        ConfigurationError: another process listens there, or the address is not this machine's.
    """
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}", setting) from error
    application = server.get_app()
    assert application is not None  # noqa: S101 - start_http_server has set it
    server.set_app(_uncached(application))
    return server


def _uncached(application: WSGIApplication) -> WSGIApplication:
    def uncached(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, _NO_STORE], *rest)

        return application(environ, start)

    return uncached
