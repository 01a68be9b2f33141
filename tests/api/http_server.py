"""The API of `memory` behind its real server, and clients that write bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from api.http.connections import Connections, HttpLimits
from api.http.server import http_server, listening_socket
from tests.api.memory import Api, memory_api
from tests.patience import patience

DAY_S = 86_400.0
PATIENT = HttpLimits(
    head_timeout_s=DAY_S, body_timeout_s=DAY_S, answer_timeout_s=DAY_S, keep_alive_s=DAY_S
)
"""No limit of time: what closes a connection within a test is something else."""


@dataclass
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class Served:
    """An API that listens."""

    api: Api
    port: int
    connections: Connections
    errors: Counter[str] = field(default_factory=Counter)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, request: bytes) -> Answer:
        """Return the answer to the bytes of a request, on a new connection."""
        async with self.connect() as client:
            return await client.ask(request)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, *, is_head: bool = False) -> Answer:
        with contextlib.suppress(ConnectionError):
            self.writer.write(request)
            await self.writer.drain()
        return await self.answer(is_head=is_head)

    async def answer(self, *, is_head: bool = False) -> Answer:
        async with patience():
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            length = 0 if is_head else int(headers.get("content-length", 0))
            return Answer(int(status.split()[1]), headers, await self.reader.readexactly(length))

    async def closed(self) -> None:
        """Wait until the server closes the connection, after whatever it still sends."""
        async with patience():
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass


@contextlib.asynccontextmanager
async def served(
    directory: Path, limits: HttpLimits = PATIENT, **options: Any
) -> AsyncIterator[Served]:
    """Serve an API without Kafka and Redis on a free port."""
    async with memory_api(directory, **options) as api:
        errors = api.app.counters.errors
        server = http_server(api.app, limits, errors, api.app.end_streams)
        with listening_socket("127.0.0.1", 0) as listening:
            task = asyncio.create_task(server.serve([listening]))
            try:
                async with patience():
                    while not server.started:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                port = listening.getsockname()[1]
                yield Served(api, port, server.connections, errors)
            finally:
                server.should_exit = True
                await task


def request(
    method: str = "GET", target: str = "/health", *headers: str, body: bytes = b""
) -> bytes:
    """Return the bytes of a request, with its Host and, if it has a body, its length."""
    lines = [f"{method} {target} HTTP/1.1", "Host: api", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Events:
    """Events of a stream, read as they come."""

    def __init__(self, http: Served, path: str, *headers: str) -> None:
        self._http, self._request = http, request("GET", path, *headers)

    async def __aenter__(self) -> Self:
        self._connection = self._http.connect()
        client = await self._connection.__aenter__()
        client.writer.write(self._request)
        self.head = await client.reader.readuntil(b"\r\n\r\n")
        self._reader = client.reader
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__(None, None, None)

    async def next(self) -> dict[str, Any]:
        async with patience():
            while True:
                line = await self._reader.readline()
                if line.startswith(b"data: "):
                    found: dict[str, Any] = json.loads(line[6:])
                    return found
                if line.startswith(b"id: "):
                    self.last_id = line[4:].strip().decode()
                if line in {b"", b"0\r\n"}:  # the last chunk
                    raise EOFError
