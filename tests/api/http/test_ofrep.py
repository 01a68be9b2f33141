"""OFREP over HTTP: statuses, codes and bodies of the contract, and what is logged of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from api.auth import ApiKeyAuth
from api.services import flags as flags_module
from streams.api_keys import new_key
from streams.experiments.snapshot import Snapshot
from tests.api.http_server import Events, request, served
from tests.api.memory import Api, definition, memory_api

KEY = "homepage-hero"
FLAGS = "/ofrep/v1/evaluate/flags"
FLAG = f"{FLAGS}/{KEY}"
CONTEXT = {"context": {"targetingKey": "user-123", "country": "DE"}}
AB: dict[str, object] = {"key": KEY, "type": "bayesian_ab"}


def valued(*values: object, field: str = "title") -> list[dict[str, object]]:
    """Return variants with these values of a field; the first is the control."""
    return [
        {"name": f"V{index}", "isControl": index == 0, "config": {field: value}}
        for index, value in enumerate(values)
    ]


async def test_a_flag_is_the_variant_that_an_assignment_gives(api: Api) -> None:
    name = await api.run(AB)

    answer = await api.http.post(FLAG, json=CONTEXT)
    assigned = await api.http.post(f"/experiments/{KEY}/assign", json={"userId": "user-123"})

    flag, assignment = answer.json(), assigned.json()
    assert answer.status_code == 200
    assert flag == {
        "key": KEY,
        "value": assignment["config"],
        "reason": "SPLIT",
        "variant": assignment["variantName"],
        "metadata": {
            "assignmentId": assignment["id"],
            "experimentId": name,
            "variantId": assignment["variantId"],
            "propensity": 0.5,
            "enrolled": True,
        },
    }


async def test_an_evaluation_is_logged_once_with_its_context(api: Api) -> None:
    await api.run(AB)

    answer = await api.http.post(FLAG, json=CONTEXT)
    observed = {"assignmentId": answer.json()["metadata"]["assignmentId"], "metric": "click"}
    taken = await api.http.post("/observations", json={**observed, "value": 1})

    groups = [group for batch in api.topics.impressions() for group in batch.groups]
    assert [len(group.units) for group in groups] == [1]
    assert taken.status_code == 202


async def test_an_adaptive_flag_of_a_user_stays(api: Api) -> None:
    await api.run({"key": KEY, "unit": "user"})

    first = await api.http.post(FLAG, json=CONTEXT)
    again = await api.http.post(FLAG, json=CONTEXT)

    assert first.json() == again.json()


@pytest.mark.parametrize(
    ("context", "unit"),
    [
        ({"targetingKey": "a"}, "user"),
        ({"targetingKey": "a"}, "session"),
        ({"targetingKey": "x", "userId": "a"}, "user"),
        ({"targetingKey": "x", "sessionId": "a"}, "session"),
    ],
)
async def test_the_targeting_key_is_the_unit(api: Api, context: dict[str, str], unit: str) -> None:
    await api.run({**AB, "unit": unit}, valued(*range(64)))
    field = f"{unit}Id"

    flag = await api.http.post(FLAG, json={"context": context})
    assigned = await api.http.post(f"/experiments/{KEY}/assign", json={field: "a"})

    assert flag.json()["metadata"]["assignmentId"] == assigned.json()["id"]


async def test_device_location_and_features_are_those_of_the_context(api: Api) -> None:
    await api.run({**AB, "covariates": [{"name": "age", "minimum": 0, "maximum": 100}]})
    context = {"targetingKey": "u", "device": "mobile", "age": 30, "features": {"tier": "x"}}

    good = await api.http.post(FLAG, json={"context": context})
    bad = await api.http.post(FLAG, json={"context": {**context, "age": "thirty"}})

    [logged] = [
        text
        for batch in api.topics.impressions()
        for group in batch.groups
        for text in group.contexts
    ]
    assert good.status_code == 200
    assert json.loads(logged) == {"device": "mobile", "features": {"age": 30, "tier": "x"}}
    assert (bad.status_code, bad.json()["errorCode"]) == (400, "INVALID_CONTEXT")
    assert "age" in bad.json()["errorDetails"]


@pytest.mark.parametrize(
    ("values", "value"),
    [(("a", "a"), "a"), ((True, True), True), ((3, 3), 3), (([1], [1]), [1]), (({}, {}), {})],
)
async def test_one_field_is_the_value_where_the_experiment_says_which(
    api: Api, values: tuple[object, ...], value: object
) -> None:
    await api.run({**AB, "valueField": "title"}, valued(*values))

    assert (await api.http.post(FLAG, json=CONTEXT)).json()["value"] == value


async def test_whole_numbers_beside_fractions_are_written_with_a_point(api: Api) -> None:
    await api.run({**AB, "valueField": "title"}, valued(2, 2, 0.5))

    answers = [
        (await api.http.post(FLAG, json={"context": {"targetingKey": f"u{index}"}})).text
        for index in range(12)
    ]

    assert {text.partition('"value":')[2].partition(",")[0] for text in answers} == {"2.0", "0.5"}


@pytest.mark.parametrize(
    ("variants", "code", "path"),
    [
        (valued("a", None), "VALUE_FIELD_MISSING", "variants[1].config.title"),
        (valued("a", 1), "VALUE_TYPES_DIFFER", "variants[1].config.title"),
        (valued("a", "b", field="other"), "VALUE_FIELD_MISSING", "variants[0].config.title"),
    ],
)
async def test_variants_without_a_value_of_one_type_are_refused(
    api: Api, variants: object, code: str, path: str
) -> None:
    body = definition({"valueField": "title"}, variants)

    error = (await api.http.post("/experiments", json=body)).json()["error"]

    assert (error["code"], error["path"]) == (code, path)


@pytest.mark.parametrize("field", ["", "f" * 101, 7, "a\n"])
async def test_a_value_field_is_a_short_text(api: Api, field: object) -> None:
    answer = await api.http.post("/experiments", json=definition({"valueField": field}))

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "config.valueField")


@pytest.mark.parametrize(
    ("config", "unit"), [({"trafficAllocation": 0.0}, "user-1"), ({}, "anonymous")]
)
async def test_who_does_not_take_part_gets_the_control(
    api: Api, config: Mapping[str, object], unit: str
) -> None:
    name = await api.run({**AB, **config})

    answer = await api.http.post(FLAG, json={"context": {"targetingKey": unit}})

    flag = answer.json()
    assert (flag["reason"], flag["variant"], flag["value"]) == ("STATIC", "A", {"adId": "ad_1"})
    assert flag["metadata"] == {
        "experimentId": name,
        "variantId": f"{name}_v0",
        "enrolled": False,
    }
    assert not api.topics.records


@pytest.mark.parametrize("verbs", [(), ("start", "pause"), ("start", "conclude")])
async def test_what_does_not_assign_is_disabled_and_has_no_value(
    api: Api, verbs: tuple[str, ...]
) -> None:
    name = await api.create(AB)
    for verb in verbs:
        body = {"serve": "none"} if verb == "conclude" else {}
        await api.http.post(f"/experiments/{KEY}/{verb}", json=body)

    answer = await api.http.post(FLAG, json=CONTEXT)

    assert answer.status_code == 200
    assert answer.json() == {
        "key": KEY,
        "reason": "DISABLED",
        "variant": "",
        "metadata": {"experimentId": name, "enrolled": False},
    }


@pytest.mark.parametrize("key", ["nobody", "No%20Key", "a/b", "%C3%A4"])
async def test_a_flag_that_is_not_there(api: Api, key: str) -> None:
    answer = await api.http.post(f"{FLAGS}/{key}", json=CONTEXT)

    assert answer.status_code == 404
    assert answer.json().keys() == {"key", "errorCode", "errorDetails"}
    assert answer.json()["errorCode"] == "FLAG_NOT_FOUND"


async def test_an_archived_experiment_is_no_flag(api: Api) -> None:
    await api.create(AB)
    await api.http.post(f"/experiments/{KEY}/archive")

    one = await api.http.post(FLAG, json=CONTEXT)
    everything = await api.http.post(FLAGS, json=CONTEXT)

    assert one.status_code == 404
    assert everything.json()["flags"] == []


BAD = [
    (b"{", "PARSE_ERROR"),
    (b"[]", "PARSE_ERROR"),
    (b'{"context": {"targetingKey": "u", "n": NaN}}', "PARSE_ERROR"),
    (b"", "TARGETING_KEY_MISSING"),
    (b"{}", "TARGETING_KEY_MISSING"),
    (b'{"context": null}', "TARGETING_KEY_MISSING"),
    (b'{"context": {"country": "DE"}}', "TARGETING_KEY_MISSING"),
    (b'{"context": "DE"}', "INVALID_CONTEXT"),
    (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
    (b'{"context": {"targetingKey": "%b"}}' % (b"u" * 300), "INVALID_CONTEXT"),
]


@pytest.mark.parametrize(("body", "code"), BAD)
async def test_bad_requests_for_a_flag(api: Api, body: bytes, code: str) -> None:
    await api.run(AB)

    answer = await api.http.post(FLAG, content=body)

    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json().keys() == {"key", "errorCode", "errorDetails"}
    assert not api.topics.records


@pytest.mark.parametrize(("body", "code"), BAD)
async def test_bad_requests_for_all_flags(api: Api, body: bytes, code: str) -> None:
    await api.run(AB)

    answer = await api.http.post(FLAGS, content=body)

    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json().keys() == {"errorCode", "errorDetails"}


@pytest.mark.parametrize("path", [FLAG, FLAGS])
async def test_a_body_that_is_too_large_or_not_json(api: Api, path: str) -> None:
    await api.run(AB)

    large = await api.http.post(path, content=b" " * 70_000)
    other = await api.http.post(path, content=b"{}", headers={"Content-Type": "text/html"})

    assert (large.status_code, large.json()["errorCode"]) == (400, "GENERAL")
    assert (other.status_code, other.json()["errorCode"]) == (400, "PARSE_ERROR")


@pytest.mark.parametrize("path", [FLAG, FLAGS, "/ofrep/v1/events"])
async def test_without_a_key_that_may_assign_the_answer_is_empty(tmp_path: Path, path: str) -> None:
    reader, entry = new_key("reader", ["read"])
    method = "GET" if path.endswith("events") else "POST"
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        unknown = await api.http.request(method, path, headers={"X-API-Key": "?"})
        refused = await api.http.request(method, path, headers={"X-API-Key": reader})

    assert (unknown.status_code, unknown.content) == (401, b"")
    assert (refused.status_code, refused.content) == (403, b"")


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
async def test_either_header_carries_the_key(tmp_path: Path, header: str) -> None:
    key, entry = new_key("ads", ["assign", "manage"])
    headers = {header: f"Bearer {key}" if header == "Authorization" else key}
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        api.http.headers.update(headers)
        await api.run(AB)
        one = await api.http.post(FLAG, json=CONTEXT)
        everything = await api.http.post(FLAGS, json=CONTEXT)

    assert (one.status_code, everything.status_code) == (200, 200)


async def test_a_full_spool_is_429_and_says_when_to_come_again(tmp_path: Path) -> None:
    async with memory_api(tmp_path, spool_max_bytes=1) as api:
        await api.run(AB)
        answer = await api.http.post(FLAG, json=CONTEXT)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


async def test_experiments_that_were_not_read_yet_are_500(api: Api) -> None:
    api.experiments.is_complete = False

    one = await api.http.post(FLAG, json=CONTEXT)
    everything = await api.http.post(FLAGS, json=CONTEXT)

    assert (one.status_code, everything.status_code) == (500, 500)
    assert one.json().keys() == everything.json().keys() == {"errorDetails"}


async def test_all_flags_are_what_each_is_and_nothing_is_logged(api: Api) -> None:
    await api.run(AB)
    await api.run({"key": "sticky", "unit": "user"})
    await api.create({"key": "draft"})
    await api.run({"key": "by-impression"})
    await api.run()

    everything = (await api.http.post(FLAGS, json=CONTEXT)).json()
    assert not api.topics.records
    flags = {flag["key"]: flag for flag in everything["flags"]}
    single = {key: (await api.http.post(f"{FLAGS}/{key}", json=CONTEXT)).json() for key in flags}

    assert list(flags) == sorted(flags) == ["by-impression", "draft", KEY, "sticky"]
    assert flags["draft"]["reason"] == "DISABLED"
    assert flags["by-impression"]["errorCode"] == "GENERAL"
    for key in (KEY, "sticky"):
        assert single[key]["metadata"].pop("assignmentId")
        assert flags[key] == single[key]


async def test_a_flag_that_ends_meanwhile_fails_no_other(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not listed, as one that had ended before."""
    monkeypatch.setattr(flags_module, "FLAGS_AT_ONCE", 1)
    await api.create({"key": "a-first"})
    gone = await api.create({"key": "b-gone"})
    await api.create({"key": "c-last"})
    snapshot = api.experiments.snapshot

    def ending(name: str) -> Snapshot:
        if name == "b-gone":
            api.experiments.drop(gone)
        return snapshot(name)

    monkeypatch.setattr(api.experiments, "snapshot", ending)

    answer = await api.http.post(FLAGS, json=CONTEXT)

    assert answer.status_code == 200
    assert [flag["key"] for flag in answer.json()["flags"]] == ["a-first", "c-last"]


async def test_all_flags_have_a_validator(api: Api) -> None:
    await api.run(AB)
    await api.run({"key": "sticky", "unit": "user"})

    first = await api.http.post(FLAGS, json=CONTEXT)
    etag = first.headers["etag"]
    same = await api.http.post(
        f"{FLAGS}?flagConfigEtag=x&any=thing", json=CONTEXT, headers={"If-None-Match": etag}
    )
    listed = await api.http.post(
        FLAGS, json=CONTEXT, headers={"If-None-Match": f'"other", W/{etag}'}
    )
    await api.http.post(f"/experiments/{KEY}/pause")
    changed = await api.http.post(FLAGS, json=CONTEXT, headers={"If-None-Match": etag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert listed.status_code == 304
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_the_stream_has_the_address_that_clients_use(tmp_path: Path) -> None:
    async with memory_api(tmp_path / "a") as api:
        own = (await api.http.post(FLAGS, json=CONTEXT)).json()["eventStreams"]
    async with memory_api(tmp_path / "b", public_url="https://api.example/") as api:
        public = (await api.http.post(FLAGS, json=CONTEXT)).json()["eventStreams"]

    assert own == [{"type": "sse", "url": "http://api/ofrep/v1/events"}]
    assert public == [{"type": "sse", "url": "https://api.example/ofrep/v1/events"}]


@pytest.mark.parametrize("host", [b'a","x":"b', b"caf\xe9", b"a\\", b"\x7f", b"<script>"])
async def test_the_answer_is_json_whatever_host_was_asked_for(tmp_path: Path, host: bytes) -> None:
    async with memory_api(tmp_path) as api:
        answer = await api.http.post(FLAGS, json=CONTEXT, headers=[(b"host", host)])

    [stream] = json.loads(answer.content)["eventStreams"]
    assert stream["url"] == f"http://{host.decode('latin-1')}/ofrep/v1/events"


async def test_pages_of_named_origins_may_evaluate(tmp_path: Path) -> None:
    origin = {"Origin": "https://shop.example"}
    asked = "authorization, content-type, x-api-key, if-none-match"
    async with memory_api(tmp_path, cors_origins=origin["Origin"]) as api:
        preflight = await api.http.options(
            FLAGS,
            headers={
                **origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": asked,
            },
        )
        error = await api.http.post(FLAGS, headers=origin)

    allowed = preflight.headers["access-control-allow-headers"]
    assert preflight.status_code == 204
    assert set(asked.split(", ")) <= set(allowed.split(", "))
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert error.status_code == 400
    assert error.headers["access-control-allow-origin"] == origin["Origin"]
    assert "etag" in error.headers["access-control-expose-headers"]


async def test_a_change_of_a_flag_is_an_event_and_moving_weights_cause_no_event(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        name = await server.api.run({"key": KEY, "unit": "user"})
        async with Events(server, "/ofrep/v1/events") as events:
            assert b"text/event-stream" in events.head
            created = await events.next()  # a change of a moment ago
            allocation = server.api.projection.snapshot(name).allocation
            server.api.publish(name, allocation=allocation)
            await server.api.http.post(f"/experiments/{KEY}/pause")
            paused = await events.next()
        async with Events(
            server, "/ofrep/v1/events", f"Last-Event-ID: {created['etag']}"
        ) as resumed:
            missed = await resumed.next()

    assert created["type"] == paused["type"] == missed["type"] == "refetchEvaluation"
    assert created["etag"] != paused["etag"] == missed["etag"]


async def test_an_unchanged_answer_has_no_body_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.api.run(AB)
        asked = request("POST", FLAGS, body=json.dumps(CONTEXT).encode())
        async with server.connect() as client:
            first = await client.ask(asked)
            condition = f"If-None-Match: {first.headers['etag']}"
            unchanged = await client.ask(
                request("POST", FLAGS, condition, body=json.dumps(CONTEXT).encode())
            )
            again = await client.ask(asked)

    assert [each.status for each in (first, unchanged, again)] == [200, 304, 200]
    assert "transfer-encoding" not in unchanged.headers


async def test_a_stream_ends_with_the_process_and_is_counted_until_then(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.api.run(AB)
        streams = server.api.app._services.streams
        events = Events(server, "/ofrep/v1/events")
        async with events:
            await events.next()
            assert streams.n_streams == 1
            server.api.app.end_streams()
            with pytest.raises(EOFError):
                await events.next()
        assert streams.n_streams == 0


async def test_a_token_of_the_answer_admits_to_the_stream(tmp_path: Path) -> None:
    key, entry = new_key("ads", ["assign", "manage"])
    async with served(tmp_path, auth=ApiKeyAuth([entry])) as server:
        server.api.http.headers["X-API-Key"] = key
        await server.api.run(AB)
        [stream] = (await server.api.http.post(FLAGS, json=CONTEXT)).json()["eventStreams"]
        target = httpx.URL(stream["url"]).raw_path.decode()
        async with Events(server, target) as events:
            assert (await events.next())["type"] == "refetchEvaluation"
        forged = await server.ask(request("GET", target[:-1] + "x"))
        server.api.clock.now_ms += 2 * 86_400_000
        expired = await server.ask(request("GET", target))

    assert (forged.status, expired.status) == (401, 401)
