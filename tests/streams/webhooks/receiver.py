"""A receiver of webhooks over real HTTP on loopback, with configurable answers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Receiver:
    """Receiver with what it has received, and what it answers.

    Attributes:
        answers: Bytes to answer with, by path; None leaves a request without an answer.
        received: Path, headers in small letters and body of every request.
        held: Writers of the requests that were left without an answer, by path.
    """

    port: int = 0
    answers: dict[str, bytes | None] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    held: dict[str, list[asyncio.StreamWriter]] = field(default_factory=dict)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def ids(self, path: str = "/") -> list[str]:
        return [headers["webhook-id"] for to, headers, _ in self.received if to == path]

    def release(self, path: str, answer: bytes) -> None:
        """Answer the requests that were left without an answer, and close their connections."""
        for writer in self.held.pop(path, []):
            writer.write(answer)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                path = head[0].split()[1]
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.received.append((path, headers, body))
                answer = self.answers.get(path, OK)
                if answer is None:
                    self.held.setdefault(path, []).append(writer)
                    await reader.read()
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
