"""Ends of processes that could not continue, counted in Redis.

A process that ends loses its counters, and its manager starts it again within seconds: without a
record outside the process, the exit would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import closing
from typing import cast

import redis
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streams.projection.connection import redis_errors
from streams.projection.keys import Keys

KINDS = ("worker", "api")
"""Kinds of process that are counted."""

TIMEOUT_S = 1.0
"""Longest wait of a process that ends: less than it is given in `streams.process.exits`."""


def note_exit(url: str, keys: Keys, kind: str) -> None:
    """Count one exit of a kind of process, for a process whose event loop no longer runs.

    Raises:
        DependencyError: Redis does not answer; then this exit is not counted.
    """
    client = redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    with redis_errors(), closing(client):
        client.hincrby(keys.exits, kind, 1)


async def exits(client: Redis, keys: Keys) -> dict[str, int]:
    """Return the number of such exits by kind of process.

    Raises:
        DependencyError: Redis does not answer.
    """
    with redis_errors():
        found = await cast(Awaitable[dict[bytes, bytes]], client.hgetall(keys.exits))
    counts = {kind.decode(): int(count) for kind, count in found.items()}
    return {kind: counts.get(kind, 0) for kind in KINDS}
