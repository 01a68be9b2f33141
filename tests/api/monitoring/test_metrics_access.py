"""Access to metrics: keys with their scope, and the port meant for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from api.auth import ApiKeyAuth
from api.monitoring import metrics_port as module
from api.monitoring.metrics_port import metrics_port
from streams.api_keys import new_key
from streams.local.children import free_port
from streams.model.errors import ConfigurationError
from tests.api.memory import Api, memory_api


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(["metrics"], 200), (["read"], 200), (["assign", "observe", "manage"], 403), (None, 401)],
)
async def test_metrics_need_a_scope_where_there_are_keys(
    tmp_path: Path, scopes: list[str] | None, status: int
) -> None:
    key, entry = new_key("prometheus", scopes or ["metrics"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        headers = {} if scopes is None else {"authorization": f"Bearer {key}"}
        answer = await api.http.get("/metrics", headers=headers)
        probes = [(await api.http.get(path)).status_code for path in ("/health", "/ready")]

    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert probes == [200, 200]


async def test_a_key_for_metrics_reads_nothing_else(tmp_path: Path) -> None:
    key, entry = new_key("prometheus", ["metrics"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        answer = await api.http.get("/experiments", headers={"x-api-key": key})

    assert answer.status_code == 403


async def test_without_keys_metrics_are_open_like_everything(api: Api) -> None:
    assert (await api.http.get("/metrics")).status_code == 200


async def test_the_port_of_metrics_collects_on_the_loop_and_asks_for_no_key() -> None:
    loop, port = asyncio.get_running_loop(), free_port()

    def collect() -> Iterator[Metric]:
        assert asyncio.get_running_loop() is loop
        yield GaugeMetricFamily("experiment_x", "Some.", 7)

    with metrics_port("127.0.0.1", port, collect):
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
        with (
            pytest.raises(ConfigurationError, match="cannot listen"),
            metrics_port("127.0.0.1", port, collect),
        ):
            pass

    assert "experiment_x 7.0" in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_port_0_serves_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(module, "start_metrics_server", lambda *options: started.append(options))

    with metrics_port("127.0.0.1", 0, pytest.fail):
        assert started == []
