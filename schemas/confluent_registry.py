"""Client of a Confluent-compatible schema registry.

It is not on the path of a record: ids are fetched before a batch is decoded, and the codec looks
them up.
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
"""Seconds before an id that the registry did not know is requested again."""

MAX_UNKNOWN = 1_024
"""Most unknown ids remembered, so that noise cannot fill the memory; the oldest is dropped."""

MAX_CONCURRENT = 8
"""Most concurrent requests."""

MAX_ID = (1 << 31) - 1
"""Largest id of a registry, a Java `int`. A larger one is not requested."""

_NOT_THERE = frozenset({400, 404, 410, 422})
"""Permanent answers: there is no schema with such an id."""

T = TypeVar("T")


class SchemaRegistry:
    """Registration of schemas at a registry, and lookup of the ids of other writers.

    Subjects are record names (RecordNameStrategy), since the topic `observations` carries records
    of two schemas.

    Args:
        client: Client whose base URL is the registry's; the caller closes it.
        codec: The codec that gets the ids.
        clock: Monotonic clock, in seconds.
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
        """Register all versions from the written one to the newest, and frame records with the ids.

        Returns:
            The id of the newest version of each schema, by name.

        Raises:
            RegistryError: the registry does not answer, or refuses a schema as incompatible.
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
        """Fetch the schemas of these records that the codec does not know.

        Ids that the registry does not know stay unknown, and are not requested again for
        `UNKNOWN_FOR_S`.

        Raises:
            RegistryError: the registry does not answer; the records must wait.
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
