"""The statistics of an experiment as server-sent events."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from api.auth import ApiKeyAuth, reload_keys
from api.services import experiment_streams
from api.snapshots import event_streams
from streams.api_keys import Scope, add_key, new_key, read_keys
from streams.experiments.lifecycle import Status
from tests.api.http_server import Events, request, served
from tests.patience import patience, until_true

AB = {"type": "bayesian_ab"}


def stream_of(name: str) -> str:
    return f"/experiments/{name}/stream"


async def test_a_stream_begins_with_what_stats_answers_and_goes_on_with_each_change(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        name = await server.api.run({"key": "hero", **AB})
        async with Events(server, stream_of("hero")) as events:
            assert b"text/event-stream" in events.head
            first = await events.next()
            assert first == (await server.api.http.get(f"/experiments/{name}/stats")).json()
            first_id = events.last_id
            server.api.publish(name, as_of_ms=7)
            second = await events.next()
            assert second["version"] == first["version"] + 1
            await server.api.http.post(f"/experiments/{name}/pause")
            assert (await events.next())["status"] == "paused"
            last_id = events.last_id
        assert len({first_id, last_id}) == 2

        async with Events(server, stream_of(name), f"Last-Event-ID: {last_id}") as resumed:
            await server.api.http.post(f"/experiments/{name}/resume")
            assert (await resumed.next())["status"] == "running"  # and not what was seen
        async with Events(server, stream_of(name), f"Last-Event-ID: {first_id}") as behind:
            assert (await behind.next())["status"] == "running"


@pytest.mark.parametrize(
    "last_id", ["", "7", "x" * 4_000, "-1--1--1", "\u00e9", "../../etc", "0-0-0", "%00"]
)
async def test_an_id_of_another_stream_gets_the_present_state(tmp_path: Path, last_id: str) -> None:
    async with served(tmp_path) as server:
        name = await server.api.run(AB)
        async with Events(server, stream_of(name), f"Last-Event-ID: {last_id}") as events:
            assert (await events.next())["experimentId"] == name


async def test_an_id_of_another_experiment_gets_the_present_state(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        one, other = await server.api.run(AB), await server.api.run(AB)
        async with Events(server, stream_of(one)) as events:
            await events.next()
            last_id = events.last_id
        async with Events(server, stream_of(other), f"Last-Event-ID: {last_id}") as events:
            assert (await events.next())["experimentId"] == other


async def test_many_changes_at_once_are_few_events_and_the_last_one_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as server:
        name = await server.api.run(AB)
        async with Events(server, stream_of(name)) as events:
            first = await events.next()
            began_s = time.monotonic()
            for _ in range(200):
                server.api.publish(name)
                await asyncio.sleep(0.001)
            n_events, version = 0, 0
            while version < first["version"] + 200:
                version = (await events.next())["version"]
                n_events += 1
    # One at once, one for every pause, and one for the rest.
    assert n_events <= 2 + (time.monotonic() - began_s) / experiment_streams.PAUSE_S


async def test_the_end_of_an_archived_experiment_is_the_last_event(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        name = await server.api.run(AB)
        async with Events(server, stream_of(name)) as events:
            assert (await events.next())["status"] == Status.RUNNING
            server.api.experiments.drop(name)
            assert await events.next() == {}
            with pytest.raises(EOFError):
                await events.next()
        gone = await server.ask(request("GET", stream_of(name)))
    assert gone.status == 404


async def test_who_may_not_read_and_who_is_one_too_many_gets_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, entry = new_key("ads", ["assign", "manage"])
    reader, of_reader = new_key("analyst", ["read"])
    async with served(tmp_path, auth=ApiKeyAuth([entry, of_reader])) as server:
        server.api.http.headers["X-API-Key"] = key
        name = await server.api.run(AB)
        refused = await server.ask(request("GET", stream_of(name), f"X-API-Key: {key}"))
        async with Events(server, stream_of(name), f"X-API-Key: {reader}") as events:
            await events.next()
            monkeypatch.setattr(event_streams, "MAX_STREAMS", 1)
            full = await server.ask(request("GET", stream_of(name), f"X-API-Key: {reader}"))
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (full.status, full.code) == (503, "TOO_MANY_STREAMS")


async def test_a_key_that_is_revoked_reads_on_in_no_stream(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    revoked = add_key(before, "revoked", [Scope.READ, Scope.MANAGE])
    kept = add_key(after, "kept", [Scope.READ])
    auth = ApiKeyAuth([*read_keys(before), *read_keys(after)])
    async with served(tmp_path / "api", auth=auth) as server:
        server.api.http.headers["X-API-Key"] = revoked
        name = await server.api.run(AB)
        async with (
            Events(server, stream_of(name), f"X-API-Key: {revoked}") as of_revoked,
            Events(server, stream_of(name), f"X-API-Key: {kept}") as of_kept,
        ):
            for events in (of_revoked, of_kept):
                await events.next()
            reload_keys(auth, after, server.api.app._services.streams.admit_anew)
            server.api.publish(name)
            for events in (of_revoked, of_kept):
                with pytest.raises(EOFError):
                    await events.next()
        refused = await server.ask(request("GET", stream_of(name), f"X-API-Key: {revoked}"))
        headers = f"X-API-Key: {kept}", f"Last-Event-ID: {of_kept.last_id}"
        async with Events(server, stream_of(name), *headers) as events:
            assert (await events.next())["experimentId"] == name
    assert (refused.status, refused.code) == (401, "UNAUTHENTICATED")


async def test_a_stream_without_events_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(experiment_streams._Statistics, "pause_s", 0.0)
    async with served(tmp_path) as server:
        name = await server.api.run(AB)
        async with Events(server, stream_of(name)) as events:
            await events.next()
            async with patience():
                while await events._reader.readline() != b":\n":
                    pass


@pytest.mark.parametrize("target", ["/experiments/hero/stream", "/ofrep/v1/events"])
async def test_the_head_of_a_stream_ends_and_leaves_none_open(tmp_path: Path, target: str) -> None:
    async with served(tmp_path) as server:
        await server.api.run({"key": "hero", **AB})
        async with server.connect() as client:
            head = await client.ask(request("HEAD", target), is_head=True)
            following = await client.ask(request("GET", "/health"))
            await until_true(lambda: not server.api.app._services.streams.n_streams)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert following.status == 200
