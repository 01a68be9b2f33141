"""Diagnosis, dead letters and plans over HTTP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from api.services.isolated_process import IsolatedProcess
from api.services.operations import OperationsService
from streams.model.errors import DependencyError
from streams.model.events import DeadLetter
from streams.model.ids import experiment_id
from streams.model.receipts import Receipt
from streams.ops.dead_letters import again, listing
from streams.ops.dead_letters.reading import FoundLetter, Selection
from streams.ops.doctor import report
from streams.ops.doctor.facts import ApiFacts, Facts, KafkaFacts, PartitionFacts, RedisFacts
from streams.planning.planned import PlanQuestion, formula_plan
from streams.settings import Settings
from tests.api.memory import KEYRING, Api
from tests.patience import PATIENCE_S, until_true

BRIEFLY_S = 0.5

WRITTEN_MS = 1_760_000_000_000
LETTER = DeadLetter(
    topic="observations",
    partition=2,
    offset=0,
    index=0,
    timestamp_ms=5,
    code="VALUE_OUT_OF_RANGE",
    message="too much",
    path="value",
    key=KEYRING.sign(Receipt(7, 0, 1 << 32, 1, 1, 1, 60)).encode(),
    value=None,
)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[FoundLetter]:
    """Dead letters of Kafka: three of experiment 7, and a command of experiment 8."""
    found = [FoundLetter(replace(LETTER, offset=n), WRITTEN_MS - n, 40) for n in range(3)]
    key = experiment_id(8).encode()
    found.append(
        FoundLetter(
            replace(LETTER, topic="commands", code="WRONG_TYPE", key=key), WRITTEN_MS - 9, None
        )
    )

    def find(_: Any, selection: Selection) -> list[FoundLetter]:
        return [each for each in found if selection.has(each)]

    for module in (listing, again):
        monkeypatch.setattr(module, "find_letters", find)
    monkeypatch.setattr(listing, "keyring_of", lambda _: KEYRING)
    return found


async def test_dead_letters_come_in_pages_with_their_number_by_code(api: Api, letters):
    seen, query = [], {"limit": "3"}
    while True:
        page = (await api.http.get("/dead-letters", params=query)).json()
        seen += [each["place"] for each in page["letters"]]
        assert page["counts"] == {"VALUE_OUT_OF_RANGE": 3, "WRONG_TYPE": 1}
        assert all("value" not in each and "key" not in each for each in page["letters"])
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == [str(each.place) for each in letters]


async def test_dead_letters_are_filtered_by_code_topic_and_experiment(api: Api, letters):
    async def places(**query: str) -> list[str]:
        answer = await api.http.get("/dead-letters", params=query)
        return [each["place"] for each in answer.json()["letters"]]

    assert await places(code="WRONG_TYPE") == ["commands:2:0:0"]
    assert await places(topic="commands") == ["commands:2:0:0"]
    assert await places(experiment=experiment_id(8)) == ["commands:2:0:0"]
    assert len(await places(experiment=experiment_id(7))) == 3
    assert len(await places(since=str(WRITTEN_MS - 1))) == 2


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ({"limit": 201}, "OUT_OF_RANGE", "query.limit"),
        ({"cursor": "x"}, "INVALID_CURSOR", "query.cursor"),
        ({"cursor": "5/a:1:2"}, "INVALID_CURSOR", "query.cursor"),
        ({"code": "x" * 65}, "OUT_OF_RANGE", "query.code"),
        ({"since": -1}, "OUT_OF_RANGE", "query.since"),
        ({"since": WRITTEN_MS // 1000}, "OUT_OF_RANGE", "query.since"),
        ({"experiment": "No Key!"}, None, "query.experiment"),
    ],
)
async def test_a_hostile_query_of_dead_letters_is_refused(api: Api, letters, query, code, path):
    answer = await api.http.get("/dead-letters", params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["path"]) == (422, path)
    assert code is None or error["code"] == code


@pytest.mark.parametrize(
    ("places", "status", "code", "path"),
    [
        ([], 422, "OUT_OF_RANGE", "places"),
        (["x"], 422, "INVALID_PLACE", "places[0]"),
        (["observations:2:0", "observations:2:-1"], 422, "INVALID_PLACE", "places[1]"),
        (["observations:2:9"], 404, "DEAD_LETTER_NOT_FOUND", "observations:2:9:0"),
        ([f"observations:1:{n}" for n in range(101)], 422, "OUT_OF_RANGE", "places"),
        (["a" * 301], 422, "OUT_OF_RANGE", "places[0]"),
    ],
)
async def test_what_cannot_be_sent_again_is_refused_as_a_whole(
    api: Api, letters, places, status, code, path
):
    answer = await api.http.post("/dead-letters/resend", json={"places": places})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (status, code, path)


async def test_the_diagnosis_has_findings_lag_and_spool(api: Api, monkeypatch):
    async def gather(*_: Any) -> Facts:
        positions = (PartitionFacts("observations", 0, 0, 9, 4, 5),)
        return Facts(
            prefix="",
            wanted_partitions=1,
            hours=24,
            receipt_keys_error=None,
            receipt_keys=(1,),
            limited_receipt_keys=frozenset(),
            spool_files_bytes=7,
            spool_files_damaged=("/var/spool/secret.damaged",),
            kafka=KafkaFacts(positions=positions, dead_letters={"WRONG_TYPE": 2}),
            redis=RedisFacts(workers=1),
            api=ApiFacts(spool_bytes=5, spool_max_bytes=10),
            snapshots=(),
            schemas=None,
        )

    monkeypatch.setattr(report, "gather", gather)
    found = (await api.http.get("/doctor")).json()
    assert found["lag"] == [{"topic": "observations", "records": 4}]
    assert found["spool"] == {"bytes": 5, "maxBytes": 10, "fileBytes": 7, "damagedFiles": 1}
    assert (found["workers"], found["deadLetters"]) == (1, {"WRONG_TYPE": 2})
    assert {"code", "severity", "what", "advice"} == set(found["findings"][0])


async def test_who_asks_while_a_diagnosis_is_made_gets_that_one():
    made, release = [], asyncio.Event()

    class Runner:
        async def run(self, function: Any, *arguments: Any) -> Any:
            made.append(arguments[-1])
            await release.wait()
            return {"at": arguments[-1]}

    service = OperationsService(Settings(), Runner(), Runner(), ApiFacts)
    asked = [asyncio.create_task(service.doctor(hours)) for hours in (24, 24, 1)]
    gone = asyncio.create_task(service.doctor(24))
    await asyncio.sleep(0.01)
    gone.cancel()  # a client that gives up does not end it for others
    release.set()
    assert [each["at"] for each in await asyncio.gather(*asked)] == [24, 24, 1]
    assert made == [24, 1]
    await service.doctor(24)
    assert made == [24, 1, 24]


async def test_a_plan_is_that_of_the_command_line(api: Api):
    """R: power.prop.test(p1 = 0.05, p2 = 0.055, power = 0.8) gives n = 31234."""
    body = {"baseline": 0.05, "lift": 0.1, "dailyUnits": 10_000}
    found = (await api.http.post("/plan", json=body)).json()
    assert found["fixed"] == {"unitsPerVariant": 31_234, "units": 62_468, "days": 7}
    assert len(found["groupSequential"]["looks"]) == 5
    assert [each["weeks"] for each in found["detectable"]] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"lift": 0.1}, "MISSING_FIELD", "baseline"),
        ({"baseline": 2, "lift": 0.1}, "OUT_OF_RANGE", "baseline"),
        ({"baseline": 0.5, "lift": 0}, "OUT_OF_RANGE", "lift"),
        ({"baseline": 0.5, "lift": 0.1, "variants": 1}, "OUT_OF_RANGE", "variants"),
        ({"baseline": 5, "lift": 0.1, "metricKind": "continuous"}, "OUT_OF_RANGE", "deviation"),
        ({"baseline": 0.5, "lift": 0.1, "simulations": 9}, "UNKNOWN_FIELD", "simulations"),
        ({"baseline": 1e-9, "lift": 1e-6}, "OUT_OF_RANGE", "lift"),
    ],
)
async def test_what_cannot_be_planned_is_refused(api: Api, body, code, path):
    answer = await api.http.post("/plan", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


async def test_what_takes_seconds_runs_in_another_process_and_waits_are_bounded(monkeypatch):
    apart = IsolatedProcess()
    try:
        question = PlanQuestion(baseline=0.05, lift=0.1)
        assert await apart.run(formula_plan, question) == formula_plan(question)
        monkeypatch.setattr("api.services.isolated_process.MAX_WAITING", 0)
        with pytest.raises(DependencyError) as refused:
            await apart.run(formula_plan, question)
        assert refused.value.code == "OPERATION_BUSY"
    finally:
        apart.close()


async def test_a_function_that_takes_too_long_is_ended_and_those_that_wait_are_served(monkeypatch):
    monkeypatch.setattr("api.services.isolated_process.TIMEOUT_S", BRIEFLY_S)
    apart = IsolatedProcess()
    try:
        slow = asyncio.create_task(apart.run(time.sleep, 2 * PATIENCE_S))
        await until_true(lambda: apart._pool is not None)  # its time has begun
        monkeypatch.setattr("api.services.isolated_process.TIMEOUT_S", PATIENCE_S)
        waiting = asyncio.create_task(apart.run(abs, -1))
        with pytest.raises(DependencyError) as refused:
            await slow
        assert refused.value.code == "OPERATION_TIMED_OUT"
        assert await waiting == 1
    finally:
        apart.close()
