"""Experiments over HTTP: their life, their statistics, and every bad definition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.auth import ApiKeyAuth
from api.http.error_responses import error_response
from api.http.models.errors import error_json
from api.http.models.responses import Experiment
from streams.analysis.evaluate import evaluate
from streams.api_keys import new_key
from streams.experiments.statistics.variant_report import (
    AgainstControl,
    MetricReport,
    VariantReport,
)
from streams.experiments.stats_response import Stats
from streams.model.errors import DependencyError
from streams.stats.kinds import MetricKind
from streams.tallies.cell import Tally
from tests.api.memory import NOW_MS, Api, definition, memory_api


async def test_create_answers_with_all_defaults_filled_in(api: Api) -> None:
    answer = await api.http.post("/experiments", json=definition())

    assert answer.status_code == 201
    found = Experiment.model_validate(answer.json())
    assert (found.status, found.version, found.created_at) == ("draft", 1, NOW_MS)
    assert found.config["unit"] == "impression"
    assert found.config["attributionWindow"] == 86_400
    assert found.config["parameters"]["priorAlpha"] == 1
    assert [variant.id for variant in found.variants] == [f"{found.id}_v0", f"{found.id}_v1"]
    assert [variant.is_control for variant in found.variants] == [True, False]
    assert found.variants[0].config == {"adId": "ad_1"}


async def test_the_whole_life_of_an_experiment(api: Api) -> None:
    name = await api.create()
    statuses = []
    for verb, body in (
        ("start", None),
        ("pause", {}),
        ("resume", None),
        ("conclude", {"winnerVariantId": f"{name}_v1"}),
        ("archive", None),
    ):
        answer = await api.http.post(f"/experiments/{name}/{verb}", json=body)
        statuses.append(answer.json()["status"])

    assert statuses == ["running", "paused", "running", "concluded", "archived"]
    found = (await api.http.get(f"/experiments/{name}")).json()
    assert (found["winnerVariantId"], found["version"]) == (f"{name}_v1", 6)


async def test_the_share_of_traffic_and_thresholds_of_a_running_experiment_change(api: Api) -> None:
    name = await api.run()

    answer = await api.http.patch(
        f"/experiments/{name}", json={"trafficAllocation": 0.5, "minSampleSize": 7}
    )

    assert answer.status_code == 200
    config = answer.json()["config"]
    assert (config["trafficAllocation"], config["minSampleSize"]) == (0.5, 7)
    assert config["significanceThreshold"] == 0.95


async def test_all_experiments_are_listed_newest_first(api: Api) -> None:
    older = await api.create({"name": "older"})
    api.clock.now_ms += 1
    newer = await api.create({"name": "newer"})

    found = (await api.http.get("/experiments")).json()

    assert [each["id"] for each in found["experiments"]] == [newer, older]


async def test_statistics_have_the_documented_shape(api: Api) -> None:
    name = await api.run()
    against = AgainstControl(0.9, 0.01, 0.1, -0.1, 0.3, 0.5, -0.2, None, 0.04)
    click = MetricReport(MetricKind.BINARY, 3, 4, 4_000_000, 0.3, 0.1, 0.5, against)
    report = VariantReport(10, 4, 0.4, 0.2, 0.6, 0.75, 0.01, {"click": click})
    api.publish(name, variants=(report, report), winner=1, confidence=0.75, duplicates=2)

    payload = (await api.http.get(f"/experiments/{name}/stats")).json()

    stats = Stats.from_json(payload)
    assert (stats.total_assignments, stats.total_observations, stats.duplicates) == (20, 8, 2)
    assert stats.winner is not None
    assert (stats.winner.id, stats.winner.name) == (f"{name}_v1", "B")
    assert stats.recommended_action == "continue"
    assert payload["variants"][0]["stats"] == {
        "assignments": 10,
        "exposures": None,
        "observations": 4,
        "mean": 0.4,
        "lower": 0.2,
        "upper": 0.6,
        "probabilityBest": 0.75,
        "expectedLoss": 0.01,
        "allocation": 0.5,
        "metrics": {
            "click": {
                "kind": "binary",
                "units": 3,
                "observations": 4,
                "sumMicro": 4_000_000,
                "mean": 0.3,
                "lower": 0.1,
                "upper": 0.5,
                "undefined": None,
                "againstControl": {
                    "probabilityBetter": 0.9,
                    "expectedLoss": 0.01,
                    "difference": 0.1,
                    "differenceLower": -0.1,
                    "differenceUpper": 0.3,
                    "relative": 0.5,
                    "relativeLower": -0.2,
                    "relativeUpper": None,
                    "pValue": 0.04,
                    "sequenceLower": None,
                    "sequenceUpper": None,
                    "relativeSequenceLower": None,
                    "relativeSequenceUpper": None,
                    "sequenceUndefined": None,
                },
                "posterior": None,
            }
        },
    }
    assert (payload["metrics"], payload["evidence"]) == ({}, None)


async def test_statistics_say_what_the_recommendation_follows_from(api: Api) -> None:
    config = {"guardrailMetrics": ["latency"], "metrics": {"click": {"kind": "count"}}}
    name = await api.run(config)
    found = evaluate(api.projection.snapshot(name).experiment, Tally(), ())
    api.publish(name, metrics=found.metrics, evidence=found.evidence)

    payload = (await api.http.get(f"/experiments/{name}/stats")).json()

    stats = Stats.from_json(payload)
    assert stats.evidence is not None
    assert {found.role for found in stats.metrics.values()} == {"primary", "guardrail"}
    assert (stats.metrics["click"].kind, stats.metrics["click"].is_declared) == ("count", True)
    assert [each.variant for each in stats.evidence.comparisons] == [1]
    assert payload["evidence"]["comparisons"][0]["variantId"] == f"{name}_v1"
    assert payload["evidence"]["comparisons"][0]["lower"] is None
    assert payload["evidence"]["sampleRatio"]["ratios"] == {f"{name}_v{i}": None for i in range(2)}
    assert [each.metric for each in stats.evidence.guardrails] == ["latency"]
    assert set(stats.evidence.promotion_obstacles) >= {"NO_WINNER", "MIN_SAMPLE_SIZE"}


async def test_an_idempotency_key_gives_the_first_answer_again(api: Api) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await api.http.post("/experiments", json=definition(), headers=key)
    again = await api.http.post("/experiments", json=definition(), headers=key)
    other = await api.http.post("/experiments", json=definition())
    name = first.json()["id"]
    starts = [
        await api.http.post(f"/experiments/{name}/start", headers={"Idempotency-Key": "k2"})
        for _ in range(2)
    ]

    assert first.json() == again.json()
    assert other.json()["id"] != name
    assert [answer.status_code for answer in starts] == [200, 200]
    assert len(api.worker.commands) == 3


async def test_an_idempotency_key_with_another_body_is_422(api: Api) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await api.http.post("/experiments", json=definition(), headers=key)
    changed = definition({"name": "Another"})
    refused = await api.http.post("/experiments", json=changed, headers=key)
    again = await api.http.post("/experiments", json=definition(), headers=key)
    path = f"/experiments/{first.json()['id']}"
    update: dict[str, Any] = {"headers": {"Idempotency-Key": "k2"}}
    await api.http.patch(path, json={"trafficAllocation": 0.5}, **update)
    other = await api.http.patch(path, json={"trafficAllocation": 0.6}, **update)

    for answer in (refused, other):
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
        assert answer.json()["error"]["path"] == "Idempotency-Key"
    assert again.json() == first.json()
    assert (await api.http.get(path)).json()["config"]["trafficAllocation"] == 0.5


async def test_the_order_of_fields_is_no_other_body(api: Api) -> None:
    key = {"Idempotency-Key": "k1"}
    body = definition()
    first = await api.http.post("/experiments", json=body, headers=key)
    again = await api.http.post("/experiments", json=dict(reversed(body.items())), headers=key)

    assert (first.status_code, again.json()) == (201, first.json())


async def test_idempotency_keys_of_two_callers_are_independent(tmp_path: Path) -> None:
    keys = dict(new_key(name, ["manage", "read"]) for name in ("ads", "web", "ads"))
    ads, web, ads_rotated = keys
    async with memory_api(tmp_path, auth=ApiKeyAuth(keys.values())) as api:

        async def create(api_key: str, name: str) -> httpx.Response:
            headers = {"X-API-Key": api_key, "Idempotency-Key": "order-1"}
            return await api.http.post(
                "/experiments", json=definition({"name": name}), headers=headers
            )

        first = await create(ads, "one")
        other = await create(web, "two")
        rotated = await create(ads_rotated, "one")

    assert [first.status_code, other.status_code] == [201, 201]
    assert first.json()["id"] != other.json()["id"]
    assert rotated.json() == first.json()  # a key of the same name is the same caller


@pytest.mark.parametrize("key", ["", "k" * 257, "k\x7f", "caf\xe9", "a\tb"])
async def test_an_idempotency_key_is_bounded_and_printable(api: Api, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await api.http.post("/experiments", json=definition(), headers=headers)

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "Idempotency-Key")


async def test_a_command_the_status_forbids_is_409(api: Api) -> None:
    name = await api.run()

    answer = await api.http.post(f"/experiments/{name}/start")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "INVALID_TRANSITION")


@pytest.mark.parametrize("name", ["exp_0000000000000", "exp_nonsense", "exp_zzzzzzzzzzzzz"])
async def test_an_experiment_that_is_not_there_is_404_everywhere(api: Api, name: str) -> None:
    answers = [
        await api.http.get(f"/experiments/{name}"),
        await api.http.get(f"/experiments/{name}/stats"),
        await api.http.post(f"/experiments/{name}/start"),
        await api.http.post(f"/experiments/{name}/conclude"),
        await api.http.patch(f"/experiments/{name}", json={"trafficAllocation": 1}),
        await api.http.post(f"/experiments/{name}/assign"),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["error"]["code"] for answer in answers} == {"EXPERIMENT_NOT_FOUND"}


async def test_a_command_without_kafka_or_without_a_worker_is_503(api: Api) -> None:
    api.worker.is_silent = True
    timed_out = await api.http.post("/experiments", json=definition())
    api.worker.is_kafka_away = True
    unavailable = await api.http.post("/experiments", json=definition())

    for answer, code in (
        (timed_out, "COMMAND_TIMED_OUT"),
        (unavailable, "DEPENDENCY_UNAVAILABLE"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, code)
        assert int(answer.headers["Retry-After"]) > 0


def variants(*changes: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"name": f"V{index}", **change} for index, change in enumerate(changes)]


CONTROL = {"isControl": True}


@pytest.mark.parametrize(
    ("config", "these", "code", "path"),
    [
        ({"type": "coin"}, None, "UNKNOWN_TYPE", "config.type"),
        ({"type": None}, None, "MISSING_FIELD", "config.type"),
        ({"name": None}, None, "MISSING_FIELD", "config.name"),
        ({"nmae": "x"}, None, "UNKNOWN_FIELD", "config.nmae"),
        ({"parameters": {"gamma": 1}}, None, "UNKNOWN_PARAMETER", "config.parameters.gamma"),
        (
            {"parameters": {"priorAlpha": -1}},
            None,
            "OUT_OF_RANGE",
            "config.parameters.priorAlpha",
        ),
        ({"trafficAllocation": 1.5}, None, "OUT_OF_RANGE", "config.trafficAllocation"),
        ({"trafficAllocation": "1"}, None, "WRONG_TYPE", "config.trafficAllocation"),
        ({"trafficAllocation": True}, None, "WRONG_TYPE", "config.trafficAllocation"),
        ({"trafficAllocation": float("nan")}, None, "NOT_FINITE", "config.trafficAllocation"),
        ({"trafficAllocation": float("inf")}, None, "NOT_FINITE", "config.trafficAllocation"),
        ({"unit": "household"}, None, "UNKNOWN_VALUE", "config.unit"),
        ({"primaryMetric": "no spaces"}, None, "INVALID_NAME", "config.primaryMetric"),
        ({}, variants(CONTROL), "OUT_OF_RANGE", "variants"),
        ({}, variants({}, {}), "CONTROL_COUNT", "variants"),
        ({}, variants(CONTROL, CONTROL), "CONTROL_COUNT", "variants"),
        ({}, variants(CONTROL, {"name": "V0"}), "DUPLICATE_NAME", "variants[1].name"),
        ({}, variants(CONTROL, {"config": [1]}), "WRONG_TYPE", "variants[1].config"),
        ({}, variants(CONTROL, {"config": {"a": float("nan")}}), "NOT_FINITE", None),
        (
            {"type": "bayesian_ab"},
            variants({**CONTROL, "weight": 0.5}, {"weight": 0.6}),
            "WEIGHTS_DO_NOT_SUM",
            "variants",
        ),
        (
            {"type": "bayesian_ab"},
            variants({**CONTROL, "weight": 0.5}, {"weight": 0}),
            "OUT_OF_RANGE",
            "variants[1].weight",
        ),
        (
            {"type": "bayesian_ab"},
            variants({**CONTROL, "weight": 0.5}, {}),
            "WEIGHTS_INCOMPLETE",
            "variants",
        ),
        ({}, "two", "WRONG_TYPE", "variants"),
    ],
)
async def test_a_bad_definition_is_422_with_a_code_and_a_path(
    api: Api, config, these, code: str, path: str | None
) -> None:
    body = json.dumps(definition(config, these))

    answer = await api.http.post("/experiments", content=body)

    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert path is None or error["path"] == path
    assert api.worker.commands == []


@pytest.mark.parametrize(
    ("verb", "body", "code", "path"),
    [
        ("conclude", {"winnerVariantId": "variant_b"}, "UNKNOWN_VARIANT", "winnerVariantId"),
        ("conclude", {"winnerVariantId": 7}, "WRONG_TYPE", "winnerVariantId"),
        ("conclude", {"winner": "x"}, "UNKNOWN_FIELD", "winner"),
        ("pause", {"why": "x"}, "UNKNOWN_FIELD", "why"),
        ("pause", [], "WRONG_TYPE", ""),
    ],
)
async def test_a_bad_command_is_422(api: Api, verb: str, body, code: str, path: str) -> None:
    name = await api.run()

    answer = await api.http.post(f"/experiments/{name}/{verb}", json=body)

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["path"]) == (code, path)


async def test_an_update_of_what_cannot_change_is_422(api: Api) -> None:
    name = await api.run()

    answer = await api.http.patch(f"/experiments/{name}", json={"type": "ucb"})

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "type")


async def test_a_key_that_is_too_long_is_422(api: Api) -> None:
    answer = await api.http.post(
        "/experiments", json=definition(), headers={"Idempotency-Key": "k" * 257}
    )

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "Idempotency-Key")


async def test_what_a_dependency_says_is_for_the_log_alone(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    inside = "10.1.2.3:9092/bootstrap: Connect to kafka-0.internal failed"

    async def append(_: object) -> None:
        raise DependencyError("kafka", inside)

    name = await api.create()
    api.worker.append = append  # type: ignore[assignment, method-assign]
    answer = await api.http.post(f"/experiments/{name}/start")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "DEPENDENCY_UNAVAILABLE"
    for secret in ("10.1.2.3", "9092", "kafka-0", "Connect"):
        assert secret not in answer.text
    assert inside in caplog.text


@pytest.mark.parametrize("code", ["DEPENDENCY_UNAVAILABLE", "SPOOL_FULL", "COMMAND_TIMED_OUT"])
@pytest.mark.parametrize("dependency", ["kafka", "redis", "worker", "spool", "api", "registry"])
def test_no_message_of_a_dependency_reaches_an_answer(code: str, dependency: str) -> None:
    error = DependencyError(dependency, "host-7.internal:1234", code=code)

    _, body, _, _ = error_response(error)

    assert b"host-7" not in body
    assert "host-7" not in error_json(error).decode()


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\x9b", "a\nb", "a\u202eb", "a\x00"])
async def test_names_with_control_characters_are_refused(api: Api, name: str) -> None:
    variants = [{"name": "A", "isControl": True}, {"name": name}]
    answers = {
        "config.name": await api.http.post("/experiments", json=definition({"name": name})),
        "variants[1].name": await api.http.post("/experiments", json=definition(variants=variants)),
    }
    for path, answer in answers.items():
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["path"]) == ("INVALID_NAME", path)
        assert answer.text.isprintable()


async def test_a_description_may_have_lines_and_no_other_controls(api: Api) -> None:
    lines = await api.http.post("/experiments", json=definition({"description": "a\n\tb"}))
    escape = await api.http.post("/experiments", json=definition({"description": "a\x1b"}))

    assert (lines.status_code, escape.status_code) == (201, 422)
