"""A process that cannot continue is counted where others see it, and ends in any case."""

from __future__ import annotations

import subprocess
import sys

from streams.process.exits import EXIT_CODE
from streams.projection.connection import connect
from streams.projection.exits import exits
from streams.projection.keys import Keys
from streams.settings import Settings
from tests.patience import PATIENCE_S

PROGRAM = """
import sys
from functools import partial
from streams.process.exits import before_end, die
from streams.projection.exits import note_exit
from streams.projection.keys import Keys
before_end(partial(note_exit, sys.argv[1], Keys(sys.argv[2]), sys.argv[3]))
die("a test")
"""


def end(url: str, namespace: str, kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", PROGRAM, url, namespace, kind),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


async def test_each_end_counts_once_by_kind(settings: Settings):
    codes = [
        end(settings.redis_url, settings.namespace, kind).returncode
        for kind in ("worker", "api", "worker")
    ]
    client = connect(settings.redis_url)
    found = await exits(client, Keys(settings.namespace))
    await client.aclose()

    assert codes == [EXIT_CODE] * 3
    assert found == {"worker": 2, "api": 1}


async def test_without_an_end_every_kind_is_at_0(settings: Settings):
    client = connect(settings.redis_url)
    found = await exits(client, Keys(settings.namespace))
    await client.aclose()

    assert found == {"worker": 0, "api": 0}


def test_a_redis_that_does_not_answer_keeps_no_process_alive():
    ended = end("redis://127.0.0.1:1/0", "x", "worker")

    assert ended.returncode == EXIT_CODE
