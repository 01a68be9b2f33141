"""Idempotency keys on a running stack: across API processes, restarts and forgotten answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streams.kafka.admin import create_topics
from streams.projection.connection import connect
from streams.settings import Settings
from tests.api.memory import definition
from tests.integration.api_process import api_of
from tests.integration.engine_ledger import workers_of


async def test_a_key_reused_with_another_body_is_refused_wherever_and_whenever(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    key = {"Idempotency-Key": "order-1"}
    with workers_of(settings, tmp_path) as workers:
        first_worker = workers.start()
        async with api_of(settings, tmp_path, name="api-1") as (_, http):
            first = await http.post("/experiments", json=definition(), headers=key)
            assert first.status_code == 201
            path = f"/experiments/{first.json()['id']}"
            start: dict[str, Any] = {"headers": {"Idempotency-Key": "start-1"}}
            assert (await http.post(f"{path}/start", **start)).status_code == 200
        first_worker.kill()
        first_worker.wait()
        workers.start()
        client = connect(settings.redis_url)
        kept = [name async for name in client.scan_iter(f"{settings.namespace}:*")]
        await client.delete(*kept)  # every answer among them
        await client.aclose()
        async with api_of(settings, tmp_path, name="api-2") as (_, http):
            changed = definition({"name": "Another"})
            refused = await http.post("/experiments", json=changed, headers=key)
            again = await http.post("/experiments", json=definition(), headers=key)
            started = await http.post(f"{path}/start", **start)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.json()["config"]["name"] == first.json()["config"]["name"]
    assert (started.status_code, started.json()["status"]) == (200, "running")
