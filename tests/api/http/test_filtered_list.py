"""Filters, order and summaries of `GET /experiments`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.http.filters import matching
from api.http.models.queries import ExperimentsQuery
from api.http.pages import experiments_page
from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Status
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.summary import Health, Urgency, summary_of, urgency_of
from streams.experiments.transitions import apply_command
from streams.model.events import Command, CommandKind
from streams.tallies.merging import merge
from tests.api.memory import Api, definition, snapshot_of


async def listed(api: Api, **query: str) -> list[str]:
    answer = await api.http.get("/experiments", params=query)
    assert answer.status_code == 200, answer.text
    return [each["config"]["name"] for each in answer.json()["experiments"]]


async def test_the_list_is_filtered_by_owner_tags_text_status_and_type(api: Api):
    for name, owner, tags, kind in (
        ("Hero", "ana", ["web", "q4"], "ucb"),
        ("Banner", "bo", ["app"], "thompson_sampling"),
        ("Straße", "ana", [], "thompson_sampling"),
    ):
        api.clock.now_ms += 1
        await api.create({"name": name, "owner": owner, "tags": tags, "type": kind})

    assert await listed(api) == ["Straße", "Banner", "Hero"]
    assert await listed(api, owner="ana") == ["Straße", "Hero"]
    assert await listed(api, tag="q4,app") == ["Banner", "Hero"]
    assert await listed(api, search="STRASSE") == ["Straße"]
    assert await listed(api, search="bo") == ["Banner"]
    assert await listed(api, type="ucb") == ["Hero"]
    assert await listed(api, status="running") == []
    assert await listed(api, owner="ana", search="hero") == ["Hero"]


async def test_what_needs_a_decision_stands_first_on_every_page(api: Api):
    states = [
        ("continue", "running", {}),
        ("draft", "draft", {}),
        ("winner", "running", {"recommended_action": RecommendedAction.CONCLUDE_WINNER}),
        ("faulty", "running", {"recommended_action": RecommendedAction.INVESTIGATE}),
        ("harmful", "paused", {"recommended_action": RecommendedAction.STOP_GUARDRAIL}),
        ("over", "concluded", {"recommended_action": RecommendedAction.CONCLUDE_WINNER}),
        ("equal", "running", {"recommended_action": RecommendedAction.CONCLUDE_NO_DIFFERENCE}),
    ]
    for title, status, changes in states:
        api.clock.now_ms += 1
        name = await (api.create if status == "draft" else api.run)({"name": title})
        if status in {"paused", "concluded"}:
            verb = {"paused": "pause", "concluded": "conclude"}[status]
            await api.http.post(f"/experiments/{name}/{verb}")
        api.publish(name, **changes)
    found: list[str] = []
    query: dict[str, str] = {"sort": "attention", "limit": "2"}
    while True:
        page = (await api.http.get("/experiments", params=query)).json()
        found += [each["config"]["name"] for each in page["experiments"]]
        assert page["total"] == len(states)
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]

    assert found == ["faulty", "harmful", "equal", "winner", "continue", "draft", "over"]
    assert await listed(api, action="investigate,stop_guardrail") == ["harmful", "faulty"]
    assert await listed(api, health="error") == ["harmful", "faulty"]


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ({"status": "runing"}, "UNKNOWN_VALUE", "query.status"),
        ({"type": "softmax"}, "UNKNOWN_VALUE", "query.type"),
        ({"action": ""}, "UNKNOWN_VALUE", "query.action"),
        ({"health": "bad"}, "UNKNOWN_VALUE", "query.health"),
        ({"sort": "oldest"}, "UNKNOWN_VALUE", "query.sort"),
        ({"owner": "x" * 101}, "OUT_OF_RANGE", "query.owner"),
        ({"search": "x" * 201}, "OUT_OF_RANGE", "query.search"),
        ({"tag": "x" * 1001}, "OUT_OF_RANGE", "query.tag"),
        ({"cursor": "AAAAAZq-1YgAAAAAAAAAAAA"}, "INVALID_CURSOR", "query.cursor"),
        ({"cursor": "A" * 22, "sort": "attention"}, "INVALID_CURSOR", "query.cursor"),
    ],
)
async def test_a_hostile_filter_is_refused(api: Api, query, code, path):
    answer = await api.http.get("/experiments", params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=250))
async def test_any_text_is_searched_for_or_refused(api: Api, text: str):
    answer = await api.http.get("/experiments", params={"search": text})
    assert answer.status_code in {200, 422}


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"owner": ""}, "OUT_OF_RANGE", "config.owner"),
        ({"owner": "x" * 101}, "OUT_OF_RANGE", "config.owner"),
        ({"owner": "a\x1b"}, "INVALID_NAME", "config.owner"),
        ({"tags": ["a", "a"]}, "DUPLICATE_VALUE", "config.tags[1]"),
        ({"tags": ["a,b"]}, "INVALID_NAME", "config.tags[0]"),
        ({"tags": ["x" * 51]}, "OUT_OF_RANGE", "config.tags[0]"),
        ({"tags": [str(n) for n in range(21)]}, "OUT_OF_RANGE", "config.tags"),
        ({"tags": "web"}, "WRONG_TYPE", "config.tags"),
    ],
)
async def test_owner_and_tags_are_bounded(api: Api, config, code, path):
    answer = await api.http.post("/experiments", json=definition(config))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


async def test_owner_and_tags_change_while_an_experiment_runs(api: Api):
    name = await api.run({"owner": "ana", "tags": ["web"]})
    await api.http.patch(f"/experiments/{name}", json={"owner": "bo", "tags": []})
    config = (await api.http.get(f"/experiments/{name}")).json()["config"]
    assert (config["owner"], config["tags"]) == ("bo", [])


def test_a_summary_is_that_of_the_evaluation():
    """A worked example: an experiment that has started, without a unit."""
    created = apply_command(None, Command("0" * 32, 7, CommandKind.CREATE, 1, definition()))
    started = apply_command(created, Command("1" * 32, 7, CommandKind.START, 2))
    snapshot = evaluate(started, merge([], 0), [])
    found = summary_of(snapshot)
    assert (found.urgency, found.health, found.units, found.lead) == (
        Urgency.CONTINUE,
        Health.OK,
        0,
        None,
    )
    assert snapshot.reason_code is ReasonCode.MIN_SAMPLE_SIZE
    assert (found.headline.value, found.headline.limit) == (0.0, 100.0)
    assert snapshot.evidence is not None
    planned = replace(snapshot, evidence=replace(snapshot.evidence, progress=1.0))
    assert urgency_of(planned) is Urgency.PLANNED_SIZE_REACHED


async def test_a_page_of_a_thousand_experiments_says_how_many_match(api: Api):
    name = await api.run({"tags": ["web"]})
    one = api.experiments.snapshot(name)
    many = [
        snapshot_of(replace(one.experiment, number=number, created_at_ms=number, status=status))
        for number in range(1_000)
        for status in [list(Status)[number % 5]]
    ]
    query = ExperimentsQuery(tag="web", search="hero", sort="attention")
    page = await experiments_page(matching(many, query), 50, is_by_urgency=True)
    assert b'"total":1000' in page
