"""The ASGI application: limits, keys, routing and documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.auth import ApiKeyAuth, api_key_auth, is_loopback
from api.http.endpoints import ENDPOINTS
from api.http.error_responses import RouteError
from api.http.models.responses import Readiness
from api.http.routing import (
    HOLDOUT_PARAMETER,
    KEY_PARAMETER,
    PARAMETER,
    WEBHOOK_PARAMETER,
    RoutingTable,
)
from api.spool.entries import SpoolRecord
from api.spool.spool import SpoolPosition
from streams.api_keys import Scope, new_key, read_keys
from streams.model.errors import ConfigurationError
from tests.api.memory import Api, definition, memory_api


async def test_a_body_over_the_limit_is_refused_while_it_arrives(api: Api) -> None:
    n_read = 0

    async def endless() -> dict[str, Any]:
        nonlocal n_read
        n_read += 1
        return {"type": "http.request", "body": b"x" * 1024, "more_body": True}

    for path in ("/observations", "/assign", "/experiments"):
        n_read = 0
        sent = await call(api, path, endless)
        assert sent[0]["status"] == 413
        assert b"BODY_TOO_LARGE" in sent[1]["body"]
        assert n_read == 65  # 64 KiB, and the part that is too much


async def test_a_body_in_parts_is_put_together(api: Api) -> None:
    name = await api.run({"unit": "user"})
    parts = [b'{"user', b'Id":', b'"u"}']

    async def in_parts() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    sent = await call(api, f"/experiments/{name}/assign", in_parts)

    assert sent[0]["status"] == 200


async def test_a_client_that_has_gone_gets_no_answer(api: Api) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await call(api, "/observations", gone) == []


async def test_unknown_routes_and_methods_have_codes_too(api: Api) -> None:
    unknown = await api.http.get("/nope")
    method = await api.http.delete("/experiments")
    below = await api.http.post("/experiments/a/b/assign")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert below.status_code == 404


async def test_a_bug_is_500_without_its_details(api: Api, monkeypatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.experiments, "all", broken)
    monkeypatch.setattr(api.experiments, "answering", broken)
    control = await api.http.get("/experiments")
    edge = await api.http.post("/experiments/x/assign")

    for answer in (control, edge):
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")
        assert "secret" not in answer.text


async def test_requests_of_one_turn_share_one_write(api: Api, monkeypatch) -> None:
    name = await api.run()
    writes: list[int] = []
    append = api.spool.append

    def counted(records: Sequence[SpoolRecord]) -> list[SpoolPosition]:
        writes.append(len(records))
        return append(records)

    monkeypatch.setattr(api.spool, "append", counted)

    answers = await asyncio.gather(
        *(api.http.post(f"/experiments/{name}/assign", json={}) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {200}
    assert len(writes) < 20
    assert sum(len(batch.groups[0].units) for batch in api.topics.impressions()) == 20


async def test_the_documentation_has_every_route_with_models_and_needs_no_other_server(
    api: Api,
) -> None:
    document = (await api.http.get("/openapi.json")).json()
    page = await api.http.get("/docs")

    routes = {(path, method) for path, methods in document["paths"].items() for method in methods}
    name = "/experiments/{experiment_id}"
    assert routes >= {
        ("/experiments", "post"),
        ("/experiments", "get"),
        (name, "get"),
        (name, "patch"),
        *((f"{name}/{verb}", "post") for verb in ("start", "pause", "resume", "conclude")),
        (f"{name}/archive", "post"),
        (f"{name}/stats", "get"),
        (f"{name}/assign", "post"),
        ("/assign", "post"),
        ("/observations", "post"),
        ("/health", "get"),
        ("/ready", "get"),
        ("/metrics", "get"),
    }
    schemas = document["components"]["schemas"]
    assert {"ExperimentDefinition", "AssignmentContext", "ObservationRequest", "Stats"} <= set(
        schemas
    )
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in schemas}
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text


async def test_keys_open_what_their_scopes_name(tmp_path: Path) -> None:
    reading, reader = new_key("dashboard", ["read"])
    serving, server = new_key("ads", ["assign", "observe"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([reader, server])) as api:
        answers = {
            "none": await api.http.get("/experiments"),
            "wrong": await api.http.get("/experiments", headers=bearer("x")),
            "read": await api.http.get("/experiments", headers=bearer(reading)),
            "x-api-key": await api.http.get("/experiments", headers={"X-API-Key": reading}),
            "manage": await api.http.post(
                "/experiments", json=definition(), headers=bearer(reading)
            ),
            "assign": await api.http.post("/experiments/x/assign", headers=bearer(serving)),
            "assign all": await api.http.post("/assign", headers=bearer(reading)),
            "observe": await api.http.post("/observations", json=[], headers=bearer(serving)),
            "observe not": await api.http.post("/observations", json=[], headers=bearer(reading)),
            "health": await api.http.get("/health"),
            "ready": await api.http.get("/ready"),
        }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "none": 401,
        "wrong": 401,
        "read": 200,
        "x-api-key": 200,
        "manage": 403,
        "assign": 404,
        "assign all": 403,
        "observe": 202,
        "observe not": 403,
        "health": 200,
        "ready": 200,
    }
    assert answers["none"].headers["WWW-Authenticate"] == "Bearer"
    assert answers["wrong"].json()["error"]["code"] == "UNAUTHENTICATED"
    assert answers["manage"].json()["error"]["code"] == "FORBIDDEN"


def test_a_key_is_stored_as_its_hash_alone(tmp_path: Path) -> None:
    key, entry = new_key("ads", ["assign"])
    file = tmp_path / "keys.json"
    file.write_text(f'{{"keys": [{entry.model_dump_json()}]}}')

    assert key not in file.read_text()
    assert read_keys(file) == (entry,)
    api_key_auth("0.0.0.0", file).check([(b"x-api-key", key.encode())], Scope.ASSIGN)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"keys": []}', '{"keys": [{"name": "a", "blake2b": "x", "scopes": []}]}']
)
def test_a_bad_file_of_keys_stops_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)

    with pytest.raises(ConfigurationError):
        api_key_auth("127.0.0.1", file)


def test_without_keys_only_loopback_is_served() -> None:
    assert api_key_auth("127.0.0.1", None).is_open
    for host in ("0.0.0.0", "192.168.0.7", "::", "example.org"):
        with pytest.raises(ConfigurationError) as caught:
            api_key_auth(host, None)
        assert "EXPERIMENT_API_KEYS_FILE" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


async def test_ready_says_what_is_missing(tmp_path: Path) -> None:
    lacking = Readiness(ready=False, missing=("redis", "worker"), degraded=("kafka",))
    async with memory_api(tmp_path, readiness=lacking) as api:
        answer = await api.http.get("/ready")

    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "missing": ["redis", "worker"],
        "degraded": ["kafka"],
    }


async def call(api: Api, path: str, receive: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"",
        "raw_path": path.encode(), "root_path": "", "scheme": "http",
    }  # fmt: skip
    await api.app(scope, receive, send)
    return sent


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for member in value.values() for found in references(member)]
    if isinstance(value, list):
        return [found for member in value for found in references(member)]
    return []


async def test_fast_endpoints_answer_through_fastapi_too(api: Api) -> None:
    """Without FastPathApp in front, FastAPI's routes of the same table give the same answers."""
    name = await api.run({"unit": "user"})
    transport = httpx.ASGITransport(api.fastapi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        for path, body in (
            (f"/experiments/{name}/assign", {"userId": "u"}),
            ("/assign", {"experimentIds": [name], "units": [{"userId": "u"}]}),
            ("/observations", []),
            ("/observations", {}),
        ):
            fast, slow = await api.http.post(path, json=body), await http.post(path, json=body)
            assert fast.status_code == slow.status_code, path
            for header in ("content-type", "cache-control"):
                assert fast.headers[header] == slow.headers[header], path
            assert list(fast.json()) == list(slow.json())


def test_the_table_finds_what_it_was_given() -> None:
    table = RoutingTable(ENDPOINTS)
    for endpoint in ENDPOINTS:
        general = endpoint.path
        for other in (HOLDOUT_PARAMETER, WEBHOOK_PARAMETER):
            general = general.replace(other, PARAMETER)
        path = general.replace(PARAMETER, "exp_1").replace(KEY_PARAMETER, "a/b")
        resource, parameter = table.find(path)
        assert resource.of(endpoint.method).scopes == endpoint.scopes
        is_flag, is_experiment = KEY_PARAMETER in general, PARAMETER in general
        assert parameter == ("a/b" if is_flag else "exp_1" if is_experiment else "")
    for path in (
        "",
        "/",
        "//",
        "/experiments//",
        "/experiments//assign",
        "/x/exp_1",
        "experiments",
    ):
        with pytest.raises(RouteError):
            table.find(path)
