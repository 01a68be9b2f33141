"""Containment of a bad payload in a running API: it is reported, and everything else continues."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.spool.entries import SpoolRecord
from api.spool.spool import Spool
from streams.kafka.admin import create_topics
from streams.local.children import Child, free_port
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.settings import Settings
from streams.wire.snapshots import encode_snapshot
from tests.integration.api_process import api_of, logged_batches, logged_units, metric
from tests.integration.engine_ledger import environment
from tests.integration.test_api_durability import publish, running_experiment
from tests.patience import until_found


async def test_an_unreadable_snapshot_stops_no_other_experiment_and_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    good, bad = running_experiment(1), running_experiment(2)
    await publish(settings, good, bad)
    client = connect(settings.redis_url)
    writer = ProjectionWriter(client, Keys(settings.namespace))
    name = bad.experiment.id
    async with api_of(settings, tmp_path) as (process, http):
        assert (await http.post(f"/experiments/{name}/assign", json={})).status_code == 200

        await writer.write_snapshots(
            [replace(SnapshotRecord.of(bad, b"\xc3\x01 not ours"), version=bad.version + 1)]
        )
        await client.publish(Keys(settings.namespace).announce, b"exp_x not-a-number")
        await client.publish(Keys(settings.namespace).announce, b"\xff\xfe")
        await client.set(Keys(settings.namespace).worker("strange"), b"{not json", ex=600)
        await client.sadd(Keys(settings.namespace).workers, b"strange\xff", "strange")

        async def is_named() -> bool:
            ready = (await http.get("/ready")).json()
            return f"snapshot:{name}" in ready["degraded"]

        await until_found(is_named)
        assert await metric(http, "experiment_unreadable_snapshots") == 1
        # Its last good snapshot continues, and others are kept up with.
        assert (await http.post(f"/experiments/{name}/assign", json={})).status_code == 200
        newer = running_experiment(3)
        await writer.write_snapshots([SnapshotRecord.of(newer, encode_snapshot(newer))])

        async def is_followed() -> bool:
            path = f"/experiments/{newer.experiment.id}/assign"
            return (await http.post(path, json={})).status_code == 200

        await until_found(is_followed)
        ready = await http.get("/ready")
        assert ready.status_code == 200
        assert not [each for each in ready.json()["degraded"] if each.startswith("task:")]
        assert process.pid is not None
    assert "Traceback" not in process.tail(200)
    await client.aclose()


async def test_records_that_cannot_be_sent_or_read_are_passed_by_and_the_rest_is_delivered(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    found = running_experiment(1)
    await publish(settings, found)
    with Spool(settings.spool_dir, "dead", 2**24) as dead:
        positions = dead.append(
            [
                SpoolRecord(200, 0, b"for a topic of a later version"),
                SpoolRecord(0, 0, b"cut in its middle"),
            ]
        )
        with positions[1].segment.path.open("r+b") as file:
            file.seek(positions[1].offset + 13)
            file.write(b"?")
    async with api_of(settings, tmp_path) as (_, http):

        async def is_passed_by() -> bool:
            return await metric(http, "experiment_spool_quarantined_total") == 2

        await until_found(is_passed_by)
        answer = await http.post(f"/experiments/{found.experiment.id}/assign", json={})
        assert answer.status_code == 200

        async def is_delivered() -> bool:
            return await metric(http, "experiment_spool_bytes") == 0

        await until_found(is_delivered)
        assert (await http.get("/ready")).status_code == 200

    assert len(list(settings.spool_dir.glob("dead/*.damaged"))) == 1
    assert len(logged_units(logged_batches(settings))) == 1


PROGRAM = """
import asyncio, sys
from pathlib import Path
from api import app
from streams.process import background

background.LONGEST_PAUSE_S = 0.2

async def broken(*_):
    asked = Path(sys.argv[2])
    before = asked.stat().st_size
    while asked.stat().st_size == before:
        await asyncio.sleep(0.02)
    if sys.argv[1] == "hangs":
        stuck()
    raise ZeroDivisionError("injected")

def stuck():
    while True:
        pass

app._pump = broken
from api.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("hangs", ("the event loop has not turned for 6 s", "in stuck")),
        ("raises", ("ZeroDivisionError: injected", "the task delivery failed 12 times in a row")),
    ],
)
async def test_an_api_whose_loop_hangs_or_whose_task_never_heals_ends_with_70(
    settings: Settings, tmp_path: Path, how: str, said: tuple[str, str]
) -> None:
    create_topics(settings)
    await publish(settings, running_experiment(1))
    port = free_port()
    variables = (
        os.environ
        | environment(settings)
        | {
            "EXPERIMENT_API_PORT": str(port),
            "EXPERIMENT_API_LOOP_STALL_S": "6",
            "PYTHONPATH": str(Path.cwd()),
        }
    )
    asked = tmp_path / "asked"  # it fails once for each time that it was asked how it is
    asked.touch()
    process = Child("api", (sys.executable, "-c", PROGRAM, how, str(asked)), variables, tmp_path)
    await process.start()
    named: set[str] = set()
    async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
        while process.pid is not None:
            with contextlib.suppress(httpx.TransportError):
                answer = await http.get(f"http://127.0.0.1:{port}/ready")
                named.update(answer.json()["missing"])
                with asked.open("a") as times:
                    times.write("x")
            await asyncio.sleep(0.1)

    assert await process.ended() == "exited with code 70"
    assert process.log is not None
    log = process.log.read_text()
    assert all(each in log for each in said)
    assert how == "hangs" or "task:delivery" in named
