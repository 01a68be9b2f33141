"""The requests of the OFREP contract as curl sends them, to a served API."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from tests.api.http_server import served
from tests.openfeature.flags import with_flags
from tests.patience import patience

FLAGS = "/ofrep/v1/evaluate/flags"
JSON = "Content-Type: application/json"
EXAMPLE = '{"context": {"targetingKey": "user-123", "country": "DE"}}'

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer as curl prints it."""

    status: int
    headers: dict[str, str]
    body: str


async def curl(url: str, *options: str) -> Answer:
    """Run curl, and return the answer."""
    command = ("curl", "-sS", "-i", "--noproxy", "*", *options, url)
    program = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with patience():
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    head, _, body = out.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Answer(int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


ONE: list[tuple[str, str, int, dict[str, object]]] = [
    ("title", EXAMPLE, 200, {"value": "Hello", "reason": "SPLIT"}),
    ("slots", EXAMPLE, 200, {"value": 3, "reason": "SPLIT"}),
    ("layout", EXAMPLE, 200, {"value": {"columns": 2}, "reason": "SPLIT"}),
    ("closed", EXAMPLE, 200, {"value": "control", "reason": "STATIC"}),
    ("draft", EXAMPLE, 200, {"reason": "DISABLED"}),
    ("title", "{", 400, {"errorCode": "PARSE_ERROR"}),
    ("title", '{"context": {}}', 400, {"errorCode": "TARGETING_KEY_MISSING"}),
    ("title", '{"context": "DE"}', 400, {"errorCode": "INVALID_CONTEXT"}),
    ("other", EXAMPLE, 404, {"errorCode": "FLAG_NOT_FOUND"}),
]
"""Flag, body, status and what the answer has beside the key."""


async def test_one_flag(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await with_flags(server.api)
        url = f"http://127.0.0.1:{server.port}{FLAGS}"
        answers = [await curl(f"{url}/{key}", "-H", JSON, "-d", body) for key, body, *_ in ONE]

    for answer, (key, body, status, found) in zip(answers, ONE, strict=True):
        told = json.loads(answer.body)
        assert answer.status == status, (key, body)
        assert told.items() >= ({"key": key} | found).items()
        required = {"reason", "variant", "metadata"} if status == 200 else {"errorDetails"}
        assert told.keys() >= required
        assert ("value" in told) is ("value" in found)
        flat = told.get("metadata", {}).values()
        assert not [each for each in flat if isinstance(each, dict | list)]


@pytest.mark.parametrize("header", ["X-API-Key: ", "Authorization: Bearer "])
async def test_all_flags_and_304_and_the_stream_with_a_key(tmp_path: Path, header: str) -> None:
    key, entry = new_key("page", ["assign", "manage"])
    reader, read_only = new_key("reader", ["read"])
    async with served(tmp_path, auth=ApiKeyAuth([entry, read_only])) as server:
        server.api.http.headers["X-API-Key"] = key
        await with_flags(server.api)
        url = f"http://127.0.0.1:{server.port}{FLAGS}"
        everything = await curl(url, "-H", JSON, "-H", header + key, "-d", EXAMPLE)
        condition = f"If-None-Match: {everything.headers['etag']}"
        unchanged = await curl(url, "-H", JSON, "-H", header + key, "-H", condition, "-d", EXAMPLE)
        unknown = await curl(url, "-H", JSON, "-H", header + "other", "-d", EXAMPLE)
        refused = await curl(url, "-H", JSON, "-H", header + reader, "-d", EXAMPLE)
        [stream] = json.loads(everything.body)["eventStreams"]
        streaming = await asyncio.create_subprocess_exec(
            *("curl", "-sSN", "--noproxy", "*", stream["url"]), stdout=asyncio.subprocess.PIPE
        )
        try:
            first = await event_of(streaming)
            await server.api.http.post("/experiments/title/pause")
            paused = await event_of(streaming)
        finally:
            streaming.kill()
            await streaming.wait()
        changed = await curl(url, "-H", JSON, "-H", header + key, "-H", condition, "-d", EXAMPLE)

    assert (everything.status, unchanged.status, changed.status) == (200, 304, 200)
    assert unchanged.body == unknown.body == refused.body == ""
    assert unchanged.headers["etag"] == everything.headers["etag"]
    assert (unknown.status, refused.status) == (401, 403)
    assert stream["type"] == "sse"
    assert first["type"] == paused["type"] == "refetchEvaluation"
    assert first["etag"] != paused["etag"]


async def event_of(streaming: asyncio.subprocess.Process) -> dict[str, str]:
    """Return the next event that curl prints of a stream."""
    assert streaming.stdout is not None
    async with patience():
        async for line in streaming.stdout:
            if line.startswith(b"data: "):
                found: dict[str, str] = json.loads(line.removeprefix(b"data: "))
                return found
    raise EOFError
