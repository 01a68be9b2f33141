"""A small client of a Confluent-compatible schema registry.

Nothing here is on the path of a record: ids are asked for before a batch is decoded, and the codec
only looks them up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import httpx

from schemas import library
from schemas.codec import Codec
from schemas.errors import RegistryError, UnknownSchemaError

UNKNOWN_FOR_S = 60.0
"""Seconds for which an id the registry did not know is not asked for again."""

MAX_UNKNOWN = 1_024
"""Unknown ids remembered at most, so that noise cannot fill the memory; the oldest goes first."""

MAX_CONCURRENT = 8
"""Requests under way at once."""

MAX_ID = (1 << 31) - 1
"""Largest id that a registry gives: they are Java's ints. A larger one is not asked for."""

_NOT_THERE = frozenset({400, 404, 410, 422})
"""Answers that no later try changes: there is no schema with such an id."""

T = TypeVar("T")


class SchemaRegistry:
    """Keeps a codec in step with a registry.

    Subjects are record names (RecordNameStrategy), since the topic `observations` carries records
    of two schemas.

    Args:
        client: Client whose base URL is the registry's; the caller closes it.
        codec: What learns the ids.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        codec: Codec,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._codec = codec
        self._clock = clock
        self._unknown_until: dict[int, float] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def register(self) -> dict[str, int]:
        """Register what is written and what may be enabled, and write with their ids from now on.

        Those are the versions of every schema from the one that the codec writes to the newest.

        Returns:
            The id of the newest version of each schema, by name.

        Raises:
            RegistryError: the registry does not answer, or finds a schema incompatible.
        """
        written = self._codec.written
        schemas = [
            schema
            for name in library.NAMES
            for schema in library.versions(name)
            if schema.version >= written[name]
        ]
        ids = {}
        # Older ones first: a registry compares each version with those before.
        for version in sorted({schema.version for schema in schemas}):
            same = [schema for schema in schemas if schema.version == version]
            for schema, schema_id in zip(
                same, await asyncio.gather(*map(self._register, same)), strict=True
            ):
                self._codec.use_id(schema, schema_id)
                ids[schema.name] = schema_id
        return ids

    async def learn(self, values: Iterable[bytes | None]) -> None:
        """Ask for the schemas that these records name and the codec does not know.

        Ids the registry does not know are left unknown, and not asked for again for
        `UNKNOWN_FOR_S`; decoding their records says so.

        Raises:
            RegistryError: the registry does not answer; the records should wait, not be refused.
        """
        now = self._clock()
        due = [
            schema_id
            for schema_id in sorted(self._codec.unknown_ids(values))
            if schema_id <= MAX_ID and self._unknown_until.get(schema_id, now) <= now
        ]
        await asyncio.gather(*map(self._learn, due))

    async def _register(self, schema: library.Schema) -> int:
        answer = await self._json(
            "POST",
            f"/subjects/{schema.full_name}/versions",
            json={"schemaType": "AVRO", "schema": schema.text},
        )
        return _field(answer, "id", int)

    async def _learn(self, schema_id: int) -> None:
        answer = await self._json("GET", f"/schemas/ids/{schema_id}")
        self._unknown_until.pop(schema_id, None)
        if answer is not None:
            with suppress(UnknownSchemaError):
                self._codec.learn_id(schema_id, _field(answer, "schema", str))
                return
        self._unknown_until[schema_id] = self._clock() + UNKNOWN_FOR_S
        while len(self._unknown_until) > MAX_UNKNOWN:
            del self._unknown_until[next(iter(self._unknown_until))]

    async def _json(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the JSON of an answer; None for a GET of what is not there."""
        try:
            async with self._slots:
                response = await self._client.request(method, path, **arguments)
            if method == "GET" and response.status_code in _NOT_THERE:
                return None
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegistryError(f"{method} {path}: {error}") from error


def _field(answer: Any, name: str, kind: type[T]) -> T:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        kind_of_answer = type(answer).__name__
        raise RegistryError(f"the registry's answer, a {kind_of_answer}, has no usable {name!r}")
    return value
