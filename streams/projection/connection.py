"""Connection to Redis, and conversion of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.model.errors import DependencyError

TIMEOUT_S = 5.0
"""Longest wait for one answer of Redis."""


def connect(url: str) -> Redis:
    """Return a client of the Redis at `url`; it connects when it is first used."""
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=15,
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Convert exceptions of the client to a DependencyError."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyError("redis", f"Redis does not answer: {error}") from error
