"""A child process: announced once it is ready, shown if it fails, ended with its parent."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streams.local.children import Child, ChildFailedError, accepts, free_port
from tests.patience import PATIENCE_S

BRIEFLY_S = 0.3
LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
PARENT = """
import asyncio, sys
from pathlib import Path
from streams.local.children import Child

async def main():
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = Child("sleeper", sleep, {}, Path(sys.argv[1]))
    await child.start()
    print(child.pid, flush=True)
    await child.ended()

asyncio.run(main())
"""


def python(
    name: str, code: str, directory: Path, *arguments: str, grace_s: float = PATIENCE_S
) -> Child:
    return Child(name, [sys.executable, "-c", code, *arguments], {}, directory, grace_s)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_free_port_is_kept_for_a_server(host):
    """Sockets that are no servers do not get it meanwhile, whether they name it or ask for any."""
    port = free_port(host)

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))
    with socket.create_server((host, port)):
        pass


async def test_a_child_is_ready_when_it_answers(tmp_path):
    port = free_port()
    child = python("listener", LISTEN, tmp_path, str(port))
    await child.start()

    await child.ready(lambda: accepts("127.0.0.1", port), timeout_s=PATIENCE_S)

    assert child.tail() == "listening"
    await child.stop()
    assert child.pid is None
    assert await child.ended() == "was ended by signal 15"
    assert not await accepts("127.0.0.1", port)


async def test_a_child_that_ends_before_it_answers_shows_its_last_lines(tmp_path):
    child = python("failing", "import sys; sys.exit('no such table')", tmp_path)
    await child.start()

    with pytest.raises(ChildFailedError, match="failing exited with code 1") as failure:
        await child.ready(lambda: accepts("127.0.0.1", free_port()), timeout_s=PATIENCE_S)

    assert failure.value.tail == "no such table"


async def test_a_child_that_stays_silent_is_given_up(tmp_path):
    child = python("silent", "import time; time.sleep(600)", tmp_path)
    await child.start()

    with pytest.raises(ChildFailedError, match="did not answer within"):
        await child.ready(lambda: accepts("127.0.0.1", free_port()), timeout_s=BRIEFLY_S)

    await child.stop()


async def test_a_program_that_is_not_there_is_a_failed_child(tmp_path):
    child = Child("nothing", ["/no/such/program"], {}, tmp_path)

    with pytest.raises(ChildFailedError, match="cannot start"):
        await child.start()


async def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path):
    child = python("deaf", DEAF, tmp_path, grace_s=0.2)
    await child.start()
    await child.ready(lambda: asyncio.sleep(0, "deaf" in child.tail()), timeout_s=PATIENCE_S)

    await child.stop()

    assert await child.ended() == f"was ended by signal {signal.SIGKILL.value}"


async def test_a_child_whose_start_was_cancelled_can_be_stopped(tmp_path):
    """The task that starts a child again may be cancelled in the middle of it."""
    child = python("deaf", DEAF, tmp_path, grace_s=0.2)
    starting = asyncio.create_task(child.start())
    await asyncio.sleep(0)  # the program is being started

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert child.pid is not None
    await child.stop()

    assert child.pid is None


async def test_stopping_a_child_that_never_started_is_nothing(tmp_path):
    await python("idle", "", tmp_path).stop()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals the death of a parent to its child"
)
def test_children_die_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.kill()

    parent.wait()
    child.wait(timeout=PATIENCE_S)
