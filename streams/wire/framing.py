"""The schema registry, as processes use it: at their start, and before a batch is decoded."""

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
    """The codec of a process, kept in step with a schema registry if there is one.

    Attributes:
        codec: To be passed to every function that encodes or decodes.
    """

    def __init__(self, codec: Codec, registry: SchemaRegistry | None = None) -> None:
        self.codec = codec
        self._registry = registry

    async def prepare(self, values: Iterable[bytes | None]) -> None:
        """Learn the schemas that the records of a batch name, before they are decoded.

        Does nothing without a registry. A schema the registry does not have stays unknown, and
        decoding its records says so.

        Raises:
            DependencyError: the registry does not answer. Keep the batch and try again.
        """
        if self._registry is not None:
            with _dependency_errors():
                await self._registry.learn(values)


@asynccontextmanager
async def framing(
    registry_url: str | None, *, gate: SchemaGate | None = None, timeout_s: float = 5.0
) -> AsyncIterator[Framing]:
    """Open the framing of a process: single objects, or the wire format of a registry.

    Args:
        registry_url: Where a Confluent-compatible registry is; None for none.
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
