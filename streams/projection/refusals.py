"""Reasons why workers refused to start, kept for a while for `experiment doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson
from redis.asyncio import Redis

from streams.model.errors import EngineError
from streams.projection.connection import redis_errors
from streams.projection.keys import Keys

KEPT_S = 900


@dataclass(frozen=True, slots=True)
class WorkerRefusal:
    """A worker that refused to start.

    Attributes:
        code, message: Error code and message.
        at_ms: When, in milliseconds since the epoch.
    """

    code: str
    message: str
    at_ms: int


async def note_refusal(client: Redis, keys: Keys, error: EngineError) -> None:
    """Store the reason why a worker refused to start.

    Raises:
        DependencyError: Redis does not answer.
    """
    noted = {"code": error.code, "message": error.message, "atMs": time.time_ns() // 1_000_000}
    with redis_errors():
        await client.set(keys.refusal, orjson.dumps(noted), ex=KEPT_S)


async def last_refusal(client: Redis, keys: Keys) -> WorkerRefusal | None:
    """Return the last reason why a worker refused to start; None without one.

    Raises:
        DependencyError: Redis does not answer.
    """
    with redis_errors():
        noted = await client.get(keys.refusal)
    if noted is None:
        return None
    try:
        found = orjson.loads(noted)
        return WorkerRefusal(str(found["code"]), str(found["message"]), int(found["atMs"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
