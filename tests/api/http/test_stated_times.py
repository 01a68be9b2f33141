"""Times that callers state: those in another unit are refused, wherever there is one."""

from __future__ import annotations

from typing import Any

import pytest

from streams.model.errors import InputError
from streams.model.stated_times import check_bound
from streams.model.times import LAST_MS, SECONDS_BELOW
from tests.api.memory import Api, definition

RANGE = {"minimum": SECONDS_BELOW, "maximum": LAST_MS}
OF_EVENTS = {"timestamp"}  # compared with the assignment and its experiment, by separate rules
NOW_S = 1_764_000_000
OTHER_UNITS = [
    (NOW_S, "seconds?"),
    (-1, "seconds?"),
    (NOW_S * 10**6, "microseconds?"),
    (NOW_S * 10**9, "nanoseconds?"),
]


async def test_every_time_that_can_be_stated_has_its_range(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    found: dict[str, Any] = {}

    def visit(schema: dict[str, Any], name: str) -> None:
        if "$ref" in schema:
            visit(schemas[schema["$ref"].rpartition("/")[2]], name)
            return
        for inner in (*schema.get("anyOf", ()), *schema.get("prefixItems", ())):
            visit(inner, name)
        if "items" in schema:
            visit(schema["items"], name)
        for field, inner in schema.get("properties", {}).items():
            visit(inner, f"{name}.{field}")
        if schema.get("type") == "integer" and _is_time(name.rpartition(".")[2]):
            found[name] = schema

    for path, methods in document["paths"].items():
        for method, call in methods.items():
            for each in call.get("parameters", ()):
                visit(each["schema"], f"{method} {path}.{each['name']}")
            for content in call.get("requestBody", {}).get("content", {}).values():
                visit(content.get("schema", {}), f"{method} {path}")

    stated = {n: s for n, s in found.items() if n.rpartition(".")[2] not in OF_EVENTS}
    assert {name.rpartition(".")[2] for name in stated} == {
        "startAt", "endAt", "since", "from", "to",
    }  # fmt: skip
    for name, schema in stated.items():
        bounds = {key: schema[key] for key in RANGE if key in schema}
        assert bounds == RANGE or {**RANGE} in schema["anyOf"], name


def _is_time(name: str) -> bool:
    return name in {"since", "until", "from", "to", "at", "timestamp"} or name.endswith("At")


@pytest.mark.parametrize(("time_ms", "hint"), OTHER_UNITS)
async def test_a_time_in_another_unit_is_refused(api: Api, time_ms: int, hint: str) -> None:
    name = await api.run()
    made = await api.http.post("/experiments", json=definition())
    draft = f"/experiments/{made.json()['id']}"

    answers = {
        "query.from": await api.http.get(f"/experiments/{name}/timeseries?from={time_ms}"),
        "query.to": await api.http.get(f"/experiments/{name}/timeseries?to={time_ms}"),
        "query.since": await api.http.get(f"/dead-letters?since={time_ms}"),
        "schedule.startAt": await api.http.patch(draft, json={"schedule": {"startAt": time_ms}}),
        "schedule.endAt": await api.http.patch(draft, json={"schedule": {"endAt": time_ms}}),
        "since": await api.http.patch("/webhooks/wh_none", json={"since": time_ms}),
    }

    for path, answer in answers.items():
        assert answer.status_code == 422, path
        error = answer.json()["error"]
        assert (error["code"], error["path"]) == ("OUT_OF_RANGE", path)
        assert hint in error["message"]


@pytest.mark.parametrize("time_ms", [10**80, -(10**5_000)], ids=["long", "beyond text"])
def test_what_is_quoted_of_a_time_is_short(time_ms: int) -> None:
    with pytest.raises(InputError) as raised:
        check_bound(time_ms, "--until")

    assert len(raised.value.message) < 200


@pytest.mark.parametrize("timestamp", [NOW_S, NOW_S * 10**6, NOW_S * 10**9])
async def test_events_in_another_unit_are_refused(api: Api, timestamp: int) -> None:
    name = await api.run({"type": "bayesian_ab"})
    unit = {"userId": "user_1"}
    path = f"/experiments/{name}/assign"
    assigned = (await api.http.post(path, json=unit)).json()
    observed = {"metric": "click", "value": 1, "timestamp": timestamp}

    answers = {
        "assign": await api.http.post(path, json=unit | {"timestamp": timestamp}),
        "receipt": await api.http.post(
            "/observations", json=observed | {"assignmentId": assigned["id"]}
        ),
        "unit": await api.http.post("/observations", json=observed | unit | {"experiment": name}),
        "anywhere": await api.http.post("/observations", json=observed | unit),
    }

    for call, answer in answers.items():
        assert answer.status_code == 422, (call, answer.json())
        error = answer.json()["error"]
        assert "seconds?" in error["message"], (call, error)
