"""`python -m api`: serve the API until SIGTERM, then drain and end. Exit 2 if it must not start."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop

from api.app import running_api
from streams.domain.errors import ConfigurationError, DependencyError
from streams.settings import Settings, load_settings

GRACE_S = 1
"""How long open requests may take when the process stops, in whole seconds."""

BACKLOG = 2_048
EXIT_CONFIGURATION = 2
EXIT_DEPENDENCY = 1


def main() -> int:
    """Serve, and return the exit code."""
    try:
        settings = load_settings()
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
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
        server = _Server(
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        await server.serve()
        if not server.started:
            raise ConfigurationError(
                f"cannot listen on {settings.api_host}:{settings.api_port}", "api_port"
            )


class _Server(uvicorn.Server):
    """A server that a signal stops and does not kill.

    uvicorn's own raises the signal again at its end, before what is outside of it could drain.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


if __name__ == "__main__":
    sys.exit(main())
