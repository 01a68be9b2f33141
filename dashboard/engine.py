"""The engine as the dashboard knows it: the HTTP API, called by the client."""

from __future__ import annotations

from collections.abc import Callable

from experiment_streams_client import AsyncExperimentClient

CONNECTIONS = 256
"""Connections of one client: calls, and the streams of the experiments that are looked at."""

TIMEOUT_S = 10.0

MakeClient = Callable[[str | None], AsyncExperimentClient]


def client_maker(url: str) -> MakeClient:
    """Return a function that makes a client of the API at `url` for an API key."""

    def make(api_key: str | None) -> AsyncExperimentClient:
        # A page is asked for again by the person who sees that it failed: no further attempts.
        return AsyncExperimentClient(
            url, api_key=api_key, timeout_s=TIMEOUT_S, attempts=1, connections=CONNECTIONS
        )

    return make


class Engine:
    """Clients of one API: one for each API key that was valid when a user signed in with it.

    Args:
        make: Makes a client for an API key.
    """

    def __init__(self, make: MakeClient) -> None:
        self._make = make
        self._clients: dict[str | None, AsyncExperimentClient] = {}

    def client(self, api_key: str | None) -> AsyncExperimentClient:
        """Return the client of an API key that is known to be valid."""
        found = self._clients.get(api_key)
        if found is None:
            found = self._clients[api_key] = self._make(api_key)
        return found

    def untried(self, api_key: str | None) -> AsyncExperimentClient:
        """Return a client of an API key that may be invalid, for the caller to close."""
        return self._make(api_key)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
