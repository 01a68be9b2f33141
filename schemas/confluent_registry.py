"""Client of a Confluent-compatible schema registry.

It is not on the path of a record: ids are fetched before a batch is decoded, and the codec looks
them up.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, TypeVar

import httpx

from schemas import library
from schemas.codec import Codec
from schemas.errors import RegistryError, RegistryRefusedError, UnknownSchemaError

UNKNOWN_FOR_S = 60.0
"""Seconds before an id that the registry did not know is requested again."""

MAX_UNKNOWN = 1_024
"""Most unknown ids remembered, so that noise cannot fill the memory; the oldest is dropped."""

MAX_CONCURRENT = 8
"""Most concurrent requests."""

MAX_ID = (1 << 31) - 1
"""Largest id of a registry, a Java `int`. A larger one is not requested."""

MAX_SAID = 1_000
"""Longest part of a registry's own message that is repeated, in characters."""

CONFLICT_ATTEMPTS = 4
"""Attempts to register a schema that conflicts with what is there. A registry may say so (Apicurio
does) of a schema that another process registers at the same moment, which it has the next time."""

CONFLICT_PAUSE_S = 0.5
"""Pause between two of them, in seconds."""

_NOT_THERE = frozenset({400, 404, 410, 422})
"""Permanent answers: there is no schema with such an id."""

_REFUSED = frozenset({400, 401, 403, 405, 409, 422})
"""Answers to a registration that another attempt would get again: 409 for an incompatible schema,
422 for one that is not allowed, 401 and 403 for a user without the right to register."""

T = TypeVar("T")


class SchemaRegistry:
    """Registration of schemas at a registry, and lookup of the ids of other writers.

    Subjects are record names (RecordNameStrategy), since the topic `observations` carries records
    of two schemas.

    Args:
        client: Client whose base URL is the registry's, without user and password, since messages
            have it; the caller closes it.
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
        self._address = str(client.base_url).rstrip("/")
        self._codec = codec
        self._clock = clock
        self._unknown_until: dict[int, float] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def register(self) -> dict[str, int]:
        """Register all versions from the written one to the newest, and frame records with the ids.

        Returns:
            The id of the newest version of each schema, by name.

        Raises:
            RegistryRefusedError: the registry refuses a schema, as one that is incompatible with
                what it has under that name.
            RegistryError: the registry does not answer.
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
        path = f"/subjects/{schema.full_name}/versions"
        body = {"schemaType": "AVRO", "schema": schema.text}
        for attempt in itertools.count(1):
            async with self._answer("POST", path, json=body) as response:
                is_conflict = response.status_code == HTTPStatus.CONFLICT
                if is_conflict and attempt < CONFLICT_ATTEMPTS:
                    await asyncio.sleep(CONFLICT_PAUSE_S)
                    continue
                if response.status_code in _REFUSED:
                    raise RegistryRefusedError(
                        f"version {schema.version} of {schema.full_name} is refused: "
                        f"{_said(response)}"
                    )
                return _field(_json(response), "id", int)
        raise AssertionError

    async def _learn(self, schema_id: int) -> None:
        async with self._answer("GET", f"/schemas/ids/{schema_id}") as response:
            is_there = response.status_code not in _NOT_THERE
            text = _field(_json(response), "schema", str) if is_there else None
        self._unknown_until.pop(schema_id, None)
        if text is not None:
            with suppress(UnknownSchemaError):
                self._codec.learn_id(schema_id, text)
                return
        self._unknown_until[schema_id] = self._clock() + UNKNOWN_FOR_S
        while len(self._unknown_until) > MAX_UNKNOWN:
            del self._unknown_until[next(iter(self._unknown_until))]

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, json: Any = None
    ) -> AsyncIterator[httpx.Response]:
        """Yield the answer to a request; what is wrong with it becomes an error with its place."""
        try:
            async with self._slots:
                response = await self._client.request(method, path, json=json)
            yield response
        except RegistryRefusedError as error:
            raise RegistryRefusedError(f"{self._address}: {error}") from error
        except (httpx.HTTPError, RegistryError) as error:
            # Some failures of connections have no text.
            reason = str(error) or type(error).__name__
            raise RegistryError(f"{self._address}: {method} {path}: {reason}") from error


def _json(response: httpx.Response) -> Any:
    if not response.is_success:
        raise RegistryError(_said(response))
    try:
        return response.json()
    except ValueError as error:
        raise RegistryError("the answer is not JSON") from error


def _said(response: httpx.Response) -> str:
    """Return the registry's own message, which says more than the status does."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    with suppress(ValueError):
        answer = response.json()
        if isinstance(answer, dict) and isinstance(message := answer.get("message"), str):
            return f"{status}: {message[:MAX_SAID]}"
    return status


def _field(answer: Any, name: str, kind: type[T]) -> T:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        kind_of_answer = type(answer).__name__
        raise RegistryError(f"the answer, a {kind_of_answer}, has no usable {name!r}")
    return value
