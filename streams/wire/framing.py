"""The framing of a process: single objects, or the wire format of a schema registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from schemas.codec import Codec
from schemas.confluent_registry import SchemaRegistry
from schemas.errors import RegistryError
from streams.model.errors import DependencyError
from streams.wire.records import SINGLE_OBJECT
from streams.wire.schema_gate import SchemaGate


class Framing:
    """The codec of a process, and the schema registry that it learns writer schemas from.

    Attributes:
        codec: Argument of every function that encodes or decodes records.
    """

    def __init__(self, codec: Codec, registry: SchemaRegistry | None = None) -> None:
        self.codec = codec
        self._registry = registry

    async def prepare(self, values: Iterable[bytes | None]) -> None:
        """Fetch the writer schemas of a batch of records, before they are decoded.

        Without a registry this does nothing. Records of a schema that the registry does not have
        fail to decode (`UNKNOWN_SCHEMA`).

        Raises:
            DependencyError: the registry does not answer; keep the batch and try again.
        """
        if self._registry is not None:
            with _dependency_errors():
                await self._registry.learn(values)


@asynccontextmanager
async def framing(
    registry_url: str | None, *, gate: SchemaGate | None = None, timeout_s: float = 5.0
) -> AsyncIterator[Framing]:
    """Open the framing of a process.

    Args:
        registry_url: URL of a Confluent-compatible registry; None for none.
        gate: Which versions are written; None for the newest ones.
        timeout_s: Longest wait for one of its answers.

    Raises:
        DependencyError: the registry does not answer, or refuses a schema.
    """
    if registry_url is None:
        yield Framing(SINGLE_OBJECT)
        return
    async with httpx.AsyncClient(base_url=registry_url, timeout=timeout_s) as client:
        codec = Codec()
        if gate is not None:
            gate.govern(codec)
        registry = SchemaRegistry(client, codec)
        with _dependency_errors():
            await registry.register()
        yield Framing(codec, registry)


@contextmanager
def _dependency_errors() -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        raise DependencyError("schema-registry", str(error)) from error
