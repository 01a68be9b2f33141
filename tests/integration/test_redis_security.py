"""The whole engine on a Redis with TLS and ACL: what docs/reference/security.md grants suffices.

`make test-redis-tls` runs this; elsewhere it is skipped.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from streams.model.errors import DependencyError
from streams.projection.connection import connect, redis_errors
from streams.settings import Settings
from tests.brokers.secure_redis import RedisMissingError, authority, secure_redis
from tests.documents import ROOT
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.patience import until_found

pytestmark = pytest.mark.skipif(
    "REDIS_TLS" not in os.environ, reason="run by `make test-redis-tls`"
)

N_USERS = 30


def documented_rules(namespace: str) -> str:
    page = (ROOT / "docs" / "reference" / "security.md").read_text()
    [rules] = re.findall(r"^ *ACL SETUSER engine on >PASSWORD (.*)$", page, re.MULTILINE)
    return str(rules).replace("experiment:", f"{namespace}:")


async def test_the_documented_rights_suffice_over_tls(settings: Settings, tmp_path: Path):
    create_topics(settings)
    try:
        async with secure_redis(tmp_path, documented_rules(settings.namespace)) as server:
            settings = settings.model_copy(update={"redis_url": server.url()})
            with workers_of(settings, tmp_path) as workers:
                workers.start()
                async with api_of(settings, tmp_path) as (_, http):
                    name = await run_experiment(http)
                    for user in range(N_USERS):
                        answer = await http.post(
                            f"/experiments/{name}/assign", json={"userId": f"user-{user}"}
                        )
                        click = {
                            "assignmentId": answer.json()["id"],
                            "metric": "click",
                            "value": 1,
                            "eventId": f"click-{user}",
                        }
                        for _ in range(2):
                            assert (await http.post("/observations", json=click)).is_success

                    async def counted() -> bool:
                        stats = (await http.get(f"/experiments/{name}/stats")).json()
                        counts = stats["totalAssignments"], stats["totalObservations"]
                        return counts == (N_USERS, N_USERS)

                    await until_found(counted)
                    concluded = await http.post(f"/experiments/{name}/conclude", json={})
                    ready = (await http.get("/ready")).json()
            denied = server.denied()
    except RedisMissingError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))

    assert concluded.is_success, concluded.text
    assert "redis" not in ready["degraded"]
    assert denied == []


async def test_who_is_not_trusted_or_has_no_right_gets_nothing(settings: Settings, tmp_path: Path):
    other = authority(tmp_path / "other")
    async with secure_redis(tmp_path, documented_rules(settings.namespace)) as server:
        for url, reason in (
            (server.url(ca=other), "certificate verify failed"),
            (server.url(password="wrong"), "invalid username-password"),
            (server.url().replace("rediss://", "redis://").partition("?")[0], "Connection"),
        ):
            client = connect(url)
            with pytest.raises(DependencyError, match=reason), redis_errors():
                await client.ping()
            await client.aclose()
        client = connect(server.url())
        for refused in (
            client.get("another:v1:experiments"),
            client.flushall(),
            client.config_set("maxmemory", "1"),
            client.publish("another:v1:announce", "x"),
        ):
            with pytest.raises(DependencyError, match="permission"), redis_errors():
                await refused
        await client.aclose()
