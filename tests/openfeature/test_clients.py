"""OpenFeature's own clients for Node, the browser and Go, unchanged, against a served API.

`make test-openfeature` installs them and runs this; elsewhere it is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from tests.api.http_server import Served, served
from tests.openfeature.flags import USER, VALUES, with_flags
from tests.patience import PATIENCE_S, patience

HERE = Path(__file__).parent
PAGE = b"<!doctype html><meta charset=utf-8><script src=browser.js></script>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

pytestmark = pytest.mark.skipif(
    "OPENFEATURE_CLIENTS" not in os.environ, reason="run by `make test-openfeature`"
)


async def printed(*command: str) -> dict[str, Any]:
    """Return the JSON that a program prints."""
    program = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with patience():
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(
    "command",
    [("node", str(HERE / "node" / "server.mjs")), (str(HERE / "built" / "flags"),)],
    ids=["node", "go"],
)
async def test_clients_of_servers(tmp_path: Path, command: tuple[str, ...]) -> None:
    async with served(tmp_path) as server:
        await with_flags(server.api)
        found = await printed(*command, f"http://127.0.0.1:{server.port}", USER)

    assert {key: found[key]["value"] for key in VALUES} == VALUES
    assert {found[key]["reason"] for key in VALUES} == {"SPLIT"}
    assert all(found[key]["flagMetadata"]["assignmentId"] for key in VALUES)
    assert (found["closed"]["value"], found["closed"]["reason"]) == ("control", "STATIC")
    draft = found.pop("draft")
    assert draft["value"] == "mine"
    # The client for Node takes a value that is absent, as the contract allows, for an error.
    assert draft["reason"] in {"DISABLED", "ERROR"}
    assert found["by-impression"]["value"] == "a"
    assert errors_of(found) == {
        "missing": "FLAG_NOT_FOUND",
        "noUnit": "TARGETING_KEY_MISSING",
        "otherType": "TYPE_MISMATCH",
    }
    assert all(found[key]["value"] == "mine" for key in errors_of(found))


async def test_the_client_of_browsers(tmp_path: Path) -> None:
    key, entry = new_key("page", ["assign", "manage"])
    with page_of(HERE / "built" / "browser.js") as (origin, reports):
        async with served(tmp_path, auth=ApiKeyAuth([entry]), cors_origins=origin) as server:
            server.api.http.headers["X-API-Key"] = key
            await with_flags(server.api)
            query = {"api": f"http://127.0.0.1:{server.port}", "user": USER, "key": key}
            async with browser_at(f"{origin}/?{urlencode(query)}", tmp_path):
                first = await asyncio.to_thread(reports.get, timeout=PATIENCE_S)
                await until_streaming(server)
                await server.api.http.post("/experiments/title/pause")
                changed = await asyncio.to_thread(reports.get, timeout=PATIENCE_S)
    flags = first["flags"]

    assert {name: flags[name]["value"] for name in VALUES} == VALUES
    assert {flags[name]["reason"] for name in VALUES} == {"SPLIT"}
    assert all("assignmentId" not in flags[name]["flagMetadata"] for name in VALUES)
    assert (flags["closed"]["value"], flags["closed"]["reason"]) == ("control", "STATIC")
    assert flags["draft"]["value"] == "mine"
    assert errors_of(flags) == {"by-impression": "GENERAL", "missing": "FLAG_NOT_FOUND"}
    assert "title" in changed["changed"]
    assert changed["flags"]["title"]["value"] == ""  # the caller's default


def errors_of(found: dict[str, Any]) -> dict[str, str]:
    return {key: each["errorCode"] for key, each in found.items() if each.get("errorCode")}


async def until_streaming(server: Served) -> None:
    async with patience():
        while not server.api.app._services.streams.n_streams:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def page_of(script: Path) -> Any:
    """Serve a page with a script, from a separate origin, and queue what it posts."""
    reports: Queue[dict[str, Any]] = Queue()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page, script, reports)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", reports
        finally:
            server.shutdown()


class _Page(BaseHTTPRequestHandler):
    def __init__(self, script: Path, reports: Queue[dict[str, Any]], *request: Any) -> None:
        self._script, self._reports = script, reports
        super().__init__(*request)

    def do_GET(self) -> None:
        is_script = self.path == "/browser.js"
        body = self._script.read_bytes() if is_script else PAGE
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reports.put({**json.loads(body), "path": self.path, "received": time.time()})
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextlib.asynccontextmanager
async def browser_at(url: str, directory: Path) -> AsyncIterator[None]:
    """Run Chromium without a window at an address."""
    name = next(filter(shutil.which, BROWSERS))
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    profile = f"--user-data-dir={directory / 'profile'}"
    with (directory / "browser.log").open("wb") as log:
        program = await asyncio.create_subprocess_exec(
            name, *options, profile, url, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        program.terminate()
        await program.wait()
