"""Heartbeats: live processes, and the schemas that each of them reads and writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import orjson
from redis.asyncio import Redis

from streams.model.errors import DependencyError
from streams.model.schema_levels import SchemaLevels, Versions, higher
from streams.projection.connection import redis_errors
from streams.projection.heartbeat_script import HEARTBEAT, LOOKED_AT
from streams.projection.keys import Keys
from streams.wire.schema_gate import SchemaGate, refusal

LOOK_S = 1.0
"""Interval at which an API process sends heartbeats and reads which schemas may be written."""

SIGN_TTL_S = 5
"""Silence after which a process counts as gone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessSchemas:
    """Schema versions that a live process reads and writes.

    Attributes:
        kind: `worker` or `api`.
        name: Its id.
        reads: Newest version of each schema that it reads; empty if unknown.
        writes: The version of each that it writes.
    """

    kind: str
    name: str
    reads: Versions
    writes: Versions


class ApiPresence:
    """Heartbeat of an API process.

    It reads from Redis which versions of schemas may be written, as workers publish them from the
    log: an API process needs no right to read that log.

    Args:
        client: A client that does not decode responses.
        keys: Names to use.
        process_id: Name of this process.
        gate: Schema versions of this process.
    """

    def __init__(self, client: Redis, keys: Keys, process_id: str, gate: SchemaGate) -> None:
        self._client = client
        self._heartbeat = client.register_script(HEARTBEAT)
        self._keys = keys
        self._id = process_id
        self._gate = gate
        self._is_warned = False

    async def look(self) -> None:
        """Send a heartbeat, and update the schema versions that may be written.

        Raises:
            DependencyError: Redis does not answer.
        """
        sign = orjson.dumps({"reads": dict(self._gate.reads), "writes": self._gate.written})
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            await self._heartbeat(
                keys=[self._keys.api(self._id), self._keys.apis],
                args=[self._id, sign, SIGN_TTL_S, self._keys.api(""), LOOKED_AT],
                client=pipeline,
            )
            pipeline.get(self._keys.schemas)
            *_, published = await pipeline.execute()
        if published is not None:
            before = self._gate.levels.versions or {}
            self._gate.take(SchemaLevels(higher(before, orjson.loads(published))))
        if self._gate.too_new and not self._is_warned:
            self._is_warned = True
            logger.error("%s", refusal(self._gate.too_new))

    async def follow(self) -> None:
        """Send heartbeats indefinitely; retry while Redis is unavailable."""
        while True:
            with suppress(DependencyError):  # readiness says so
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def sign_off(self) -> None:
        """Remove the heartbeat of this process, which expires in any case."""
        with suppress(DependencyError), redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.delete(self._keys.api(self._id))
            pipeline.srem(self._keys.apis, self._id)
            await pipeline.execute()


async def live_processes(client: Redis, keys: Keys) -> list[ProcessSchemas]:
    """Return every worker and API process that sends heartbeats, of any generation.

    Raises:
        DependencyError: Redis does not answer.
    """
    found = []
    with redis_errors():
        for kind, members, key in (
            ("worker", keys.workers, keys.worker),
            ("api", keys.apis, keys.api),
        ):
            ids = sorted(await cast(Awaitable[set[bytes]], client.smembers(members)))
            names = [each.decode() for each in ids]
            signs = await client.mget([key(name) for name in names]) if names else []
            found += [
                _process(kind, name, orjson.loads(sign))
                for name, sign in zip(names, signs, strict=True)
                if sign is not None
            ]
    return found


def _process(kind: str, name: str, sign: Mapping[str, Any]) -> ProcessSchemas:
    return ProcessSchemas(kind, name, sign.get("reads") or {}, sign.get("writes") or {})
