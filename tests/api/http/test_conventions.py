"""HTTP conventions that clients, load balancers and browsers rely on, and hostile requests."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from tests.api.memory import Api, definition, memory_api

PAGE = {"Origin": "https://shop.example"}


async def test_head_is_answered_where_get_is(api: Api) -> None:
    name = await api.run()
    for path in ("/health", "/ready", "/experiments", f"/experiments/{name}", "/docs"):
        head, got = await api.http.head(path), await api.http.get(path)

        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
    for path, status in (("/nowhere", 404), ("/observations", 405), ("/experiments?x=1", 422)):
        head = await api.http.head(path)
        assert (head.status_code, head.content) == (status, b"")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/experiments", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/observations", "OPTIONS, POST"),
        ("PUT", "/assign", "OPTIONS, POST"),
        ("GET", "/experiments/exp_0000000000000/assign", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("TRACE", "/health", "GET, HEAD, OPTIONS"),
        ("BREW", "/experiments/exp_0000000000000", "GET, HEAD, OPTIONS, PATCH, PUT"),
    ],
)
async def test_a_method_that_is_not_taken_is_405_with_those_that_are(
    api: Api, method: str, path: str, allow: str
) -> None:
    refused = await api.http.request(method, path)
    asked = await api.http.options(path)

    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert refused.headers["allow"] == allow
    assert (asked.status_code, asked.headers["allow"]) == (204, allow)


async def test_a_trailing_slash_is_the_same_resource(api: Api) -> None:
    name = await api.run()
    for method, path in (
        ("GET", "/health"),
        ("GET", "/experiments"),
        ("GET", f"/experiments/{name}/stats"),
        ("POST", f"/experiments/{name}/assign"),
        ("POST", f"/experiments/{name}/pause"),
    ):
        assert (await api.http.request(method, path + "/")).status_code == 200, path
    assert (await api.http.post("/observations/", json=[])).status_code == 202
    assert (await api.http.get("/health//")).status_code == 404


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 200),
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("application/vnd.acme+json", 200),
        ("text/plain;charset=UTF-8", 200),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("application/json; charset=utf-16", 415),
        ("\xff\xfe", 415),
    ],
)
async def test_a_body_is_json_or_415(api: Api, kind: str | None, status: int) -> None:
    name = await api.run()
    headers = [] if kind is None else [(b"content-type", kind.encode("latin-1"))]

    for path in (f"/experiments/{name}/assign", f"/experiments/{name}/pause"):
        answer = await api.http.post(path, content=b"{}", headers=headers)

        assert answer.status_code == status, path
        if status == 415:
            error = answer.json()["error"]
            assert (error["code"], error["path"]) == ("UNSUPPORTED_MEDIA_TYPE", "Content-Type")


compress = partial(gzip.compress, mtime=0)  # a test must have the same name in every process


def gzipped(value: Any) -> bytes:
    return compress(json.dumps(value).encode())


async def test_a_gzip_body_is_taken_on_every_route(api: Api) -> None:
    headers = {"Content-Encoding": "gzip"}

    created = await api.http.post("/experiments", content=gzipped(definition()), headers=headers)
    name = created.json()["id"]
    await api.http.post(f"/experiments/{name}/start", headers=headers)  # without a body
    assigned = await api.http.post(
        f"/experiments/{name}/assign", content=gzipped({"device": "mobile"}), headers=headers
    )
    click = {"assignmentId": assigned.json()["id"], "metric": "click", "value": 1}
    observed = await api.http.post(
        "/observations", content=gzipped([click] * 2) + compress(b" "), headers=headers
    )

    assert (created.status_code, assigned.status_code) == (201, 200)
    assert (observed.status_code, observed.json()) == (202, {"accepted": 2})


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("gzip", b"{}", 400, "INVALID_ENCODING"),
        ("gzip", gzipped({})[:-4], 400, "INVALID_ENCODING"),
        ("gzip", gzipped({}) + b"x", 400, "INVALID_ENCODING"),
        ("gzip", compress(b"") * 1_000, 400, "INVALID_ENCODING"),
        ("gzip", compress(b" " * 50_000_000), 413, "BODY_TOO_LARGE"),
        ("gzip", compress(b" " * 60_000) * 2, 413, "BODY_TOO_LARGE"),
        ("gzip", compress(b"["), 422, "INVALID_JSON"),
        ("deflate", zlib.compress(b"{}"), 415, "UNSUPPORTED_ENCODING"),
        ("br", b"{}", 415, "UNSUPPORTED_ENCODING"),
        ("zstd", b"{}", 415, "UNSUPPORTED_ENCODING"),
        ("gzip, gzip", compress(gzipped({})), 415, "UNSUPPORTED_ENCODING"),
        ("x" * 5_000, b"{}", 415, "UNSUPPORTED_ENCODING"),
        ("identity", b"{}", 422, "MISSING_FIELD"),
    ],
)
async def test_other_codings_and_bad_gzip_are_refused(
    api: Api, coding: str, body: bytes, status: int, code: str
) -> None:
    answer = await api.http.post("/assign", content=body, headers={"Content-Encoding": coding})

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(answer.json()["error"]["message"]) < 200
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip"


async def test_the_key_is_checked_before_a_body_is_read(tmp_path: Path) -> None:
    _, entry = new_key("dashboard", ["read"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        document = (await api.http.get("/openapi.json")).json()
        for path, methods in document["paths"].items():
            for method in {"post", "patch", "put"} & set(methods):
                assert await status_without_reading(api, method.upper(), path) == 401, path
        for path, status in (("/nowhere", 404), ("/health", 405)):
            assert await status_without_reading(api, "POST", path) == status


async def status_without_reading(api: Api, method: str, path: str) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "headers": [], "query_string": b"",
        "raw_path": path.encode(), "root_path": "", "scheme": "http",
    }  # fmt: skip
    await api.app(scope, receive, send)
    return int(sent[0]["status"])


async def test_an_answer_does_not_repeat_long_ids(api: Api) -> None:
    long = "x" * 10_000
    units = [{"userId": "u"}] * 100

    refused = await api.http.post("/assign", json={"experimentIds": [long], "units": units})
    unknown = await api.http.post("/assign", json={"experimentIds": ["x" * 100], "units": units})
    single = await api.http.post(f"/experiments/{long[:5_000]}/assign", json={})

    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["code"], error["path"]) == ("INVALID_EXPERIMENT_ID", "experimentIds[0]")
    assert single.status_code == 404
    for answer in (refused, single):
        assert len(answer.content) < 300
    assert len(unknown.content) < 100 * 250


@pytest.mark.parametrize("place", ["name", "variant", "config", "metric", "because"])
async def test_half_a_character_is_a_422_wherever_it_stands(api: Api, place: str) -> None:
    name = await api.run({"unit": "user"})
    half = "\\ud800"
    whole = json.dumps(definition({"name": "HALF"} if place == "name" else {}))
    body = {
        "variant": whole.replace('"B"', '"HALF"'),
        "config": whole.replace("ad_2", "HALF"),
        "metric": whole.replace("click", "HALF"),
    }.get(place, whole).replace("HALF", half)  # fmt: skip

    answers = [
        await api.http.post("/experiments", content=body if place != "because" else f'"{half}"'),
        await api.http.post(f"/experiments/{name}/assign", content=f'{{"userId":"{half}"}}'),
        await api.http.post(f"/experiments/{name}/assign", content=f'{{"{half}":NaN}}'),
        await api.http.post(
            f"/experiments/{name}/assign", content=f'{{"features":{{"{half}":"{half}"}}}}'
        ),
        await api.http.post(
            f"/experiments/{name}/conclude", content=f'{{"winnerVariantId":"{half}"}}'
        ),
        await api.http.post("/assign", content=f'{{"experimentIds":["{half}"],"units":[{{}}]}}'),
        await api.http.post("/observations", content=f'{{"{half}":NaN}}'),
        await api.http.post("/observations", content=f'[{{"{half}":NaN}}]'),
        await api.http.post("/observations", content=f'[{{"{half}":"{half}"}}]'),
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert {answer.json()["error"]["code"] for answer in answers} <= {"INVALID_JSON", "NOT_FINITE"}


async def test_pages_of_named_origins_may_call_and_read_errors(tmp_path: Path) -> None:
    key, entry = new_key("web", ["assign", "observe"])
    origins = "https://shop.example, https://other.example/"
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry]), cors_origins=origins) as api:
        preflight = await api.http.options(
            "/observations",
            headers=PAGE
            | {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        answers = [
            await api.http.post("/observations", json=[], headers=PAGE | {"X-API-Key": key}),
            await api.http.post("/observations", json=[], headers=PAGE),
            await api.http.post("/observations", content=b"{", headers=PAGE | {"X-API-Key": key}),
            await api.http.get("/experiments", headers=PAGE),
            await api.http.get("/nowhere", headers=PAGE),
            await api.http.delete("/health", headers=PAGE),
        ]
        stranger = await api.http.post(
            "/observations", json=[], headers={"X-API-Key": key, "Origin": "https://evil.example"}
        )

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-api-key", "if-none-match"} <= set(
        allowed.split(", ")
    )
    assert [answer.status_code for answer in answers] == [202, 401, 422, 401, 404, 405]
    for answer in (preflight, *answers):
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
        assert answer.headers["vary"] == "origin"
    assert "etag" in answers[0].headers["access-control-expose-headers"]
    assert stranger.status_code == 202  # it has a key; a browser would not let the page read it
    assert "access-control-allow-origin" not in stranger.headers


async def test_no_page_may_use_an_api_without_keys(api: Api) -> None:
    name = await api.run()
    text = {"Content-Type": "text/plain"}

    for path in (f"/experiments/{name}/pause", f"/experiments/{name}/assign", "/observations"):
        answer = await api.http.post(path, content=b"{}", headers=PAGE | text)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ORIGIN_NOT_ALLOWED")
        assert "access-control-allow-origin" not in answer.headers
    own = await api.http.post(f"/experiments/{name}/pause", headers={"Origin": "http://api"})
    assert own.status_code == 200
    read = await api.http.options(f"/experiments/{name}", headers=PAGE)
    assert "access-control-allow-origin" not in read.headers


async def test_any_page_may_call_where_all_may(tmp_path: Path) -> None:
    async with memory_api(tmp_path, cors_origins="*") as api:
        answer = await api.http.post("/observations", json=[], headers=PAGE)

    assert answer.headers["access-control-allow-origin"] == "*"


async def test_no_call_takes_an_address(api: Api) -> None:
    """Nothing that the API is sent makes it connect to something else.

    Addresses of webhooks are for another process, which refuses those that are private.
    """
    document = (await api.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    del schemas["EventStream"]  # an answer, which names the API itself
    for name in ("Webhook", "WebhookRequest", "WebhookUpdate"):
        del schemas[name]
    for path in ("/webhooks", "/webhooks/{webhook_id}"):  # their examples
        del document["paths"][path]

    def formats(value: Any) -> set[str]:
        if isinstance(value, list):
            return {found for member in value for found in formats(member)}
        if isinstance(value, dict):
            own = {str(value["format"])} if isinstance(value.get("format"), str) else set()
            names = {name for name in value.get("properties", {}) if "url" in name.lower()}
            return own | names | {found for each in value.values() for found in formats(each)}
        return set()

    assert not {"uri", "url", "hostname", "ipv4", "ipv6"} & {
        found.lower() for found in formats(document)
    }
