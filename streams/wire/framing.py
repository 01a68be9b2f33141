"""The framing of a process: single objects, or the wire format of a schema registry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from schemas.codec import Codec
from schemas.confluent_registry import SchemaRegistry
from schemas.errors import RegistryError, RegistryRefusedError
from streams.model.errors import ConfigurationError, DependencyError
from streams.wire.records import SINGLE_OBJECT
from streams.wire.schema_gate import SchemaGate

REGISTRY = "schema-registry"
"""Name of the registry as a dependency."""

RETRY_S = 1.0
"""Pause between two attempts to register."""

_SETTING = "EXPERIMENT_SCHEMA_REGISTRY_URL"

_log = logging.getLogger(__name__)


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
            with _engine_errors():
                await self._registry.learn(values)


@asynccontextmanager
async def framing(
    registry_url: str | None,
    *,
    gate: SchemaGate | None = None,
    startup_timeout_s: float = 0.0,
    timeout_s: float = 5.0,
) -> AsyncIterator[Framing]:
    """Open the framing of a process that writes records: its schemas are registered first.

    Args:
        registry_url: URL of a Confluent-compatible registry; None or empty for none.
        gate: Which versions are written; None for the newest ones.
        startup_timeout_s: Longest wait for a registry that does not answer yet.
        timeout_s: Longest wait for one of its answers.

    Raises:
        ConfigurationError: the registry refuses a schema, as one that is incompatible.
        DependencyError: the registry does not answer.
    """
    async with _opened(registry_url, timeout_s) as (found, registry):
        if registry is not None:
            if gate is not None:
                gate.govern(found.codec)
            await _register(registry, startup_timeout_s)
        yield found


@asynccontextmanager
async def decoding(registry_url: str | None, *, timeout_s: float = 5.0) -> AsyncIterator[Framing]:
    """Open the framing of a process that decodes only: it registers nothing.

    It so needs no right to write to the registry, and starts without it; see `framing`.
    """
    async with _opened(registry_url, timeout_s) as (found, _):
        yield found


@asynccontextmanager
async def _opened(
    registry_url: str | None, timeout_s: float
) -> AsyncIterator[tuple[Framing, SchemaRegistry | None]]:
    if not registry_url:
        yield Framing(SINGLE_OBJECT), None
        return
    url = httpx.URL(registry_url)
    # The log of httpx and the messages of its errors have the whole URL.
    address = url.copy_with(username="", password=None)
    credentials = (url.username, url.password) if url.userinfo else None
    async with httpx.AsyncClient(base_url=address, auth=credentials, timeout=timeout_s) as client:
        registry = SchemaRegistry(client, codec := Codec())
        yield Framing(codec, registry), registry


async def _register(registry: SchemaRegistry, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            with _engine_errors():
                await registry.register()
        except DependencyError as error:
            if time.monotonic() + RETRY_S > deadline_s:
                raise
            _log.warning("waiting for the schema registry: %s", error)
            await asyncio.sleep(RETRY_S)
        else:
            return


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RegistryRefusedError as error:
        raise ConfigurationError(f"the schema registry at {error}", _SETTING) from error
    except RegistryError as error:
        raise DependencyError(REGISTRY, str(error)) from error
