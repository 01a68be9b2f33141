"""What one bad payload does to a running API: it is named, and everything else goes on."""

from __future__ import annotations

from pathlib import Path

from api.spool import Spool, SpoolRecord
from streams.kafka_admin import create_topics
from streams.redis_projection.connection import connect
from streams.redis_projection.keys import Keys
from streams.redis_projection.writer import ProjectionWriter, SnapshotRecord
from streams.settings import Settings
from streams.wire.snapshots import encode_snapshot
from tests.integration.api_process import api_of, logged_batches, logged_units, metric, until
from tests.integration.test_api_durability import publish, running_experiment


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

        await writer.write_snapshots([SnapshotRecord(name, bad.version + 1, b"\xc3\x01 not ours")])
        await client.publish(Keys(settings.namespace).announce, b"exp_x not-a-number")
        await client.publish(Keys(settings.namespace).announce, b"\xff\xfe")
        await client.set(Keys(settings.namespace).worker("strange"), b"{not json", ex=600)
        await client.sadd(Keys(settings.namespace).workers, b"strange\xff", "strange")

        async def is_named() -> bool:
            ready = (await http.get("/ready")).json()
            return f"snapshot:{name}" in ready["degraded"]

        await until(is_named)
        assert await metric(http, "experiment_unreadable_snapshots") == 1
        # Its last good snapshot goes on, and others are kept up with.
        assert (await http.post(f"/experiments/{name}/assign", json={})).status_code == 200
        newer = running_experiment(3)
        await writer.write_snapshots(
            [SnapshotRecord(newer.experiment.id, newer.version, encode_snapshot(newer))]
        )

        async def is_followed() -> bool:
            path = f"/experiments/{newer.experiment.id}/assign"
            return (await http.post(path, json={})).status_code == 200

        await until(is_followed)
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
        places = dead.append(
            [
                SpoolRecord(200, 0, b"for a topic of a later version"),
                SpoolRecord(0, 0, b"cut in its middle"),
            ]
        )
        with places[1].segment.path.open("r+b") as file:
            file.seek(places[1].offset + 13)
            file.write(b"?")
    async with api_of(settings, tmp_path) as (_, http):

        async def is_passed_by() -> bool:
            return await metric(http, "experiment_spool_quarantined_total") == 2

        await until(is_passed_by)
        answer = await http.post(f"/experiments/{found.experiment.id}/assign", json={})
        assert answer.status_code == 200

        async def is_delivered() -> bool:
            return await metric(http, "experiment_spool_bytes") == 0

        await until(is_delivered)
        assert (await http.get("/ready")).status_code == 200

    assert len(list(settings.spool_dir.glob("dead/*.damaged"))) == 1
    assert len(logged_units(logged_batches(settings))) == 1
