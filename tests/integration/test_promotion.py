"""A winner on real servers: it promotes itself, does harm, and is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from streams.kafka.admin import create_topics
from streams.model.events import CONCLUSION, Decision
from streams.model.receipts import Keyring
from streams.settings import Settings
from streams.wire.decisions import decode_decision
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.integration.test_replay import replayed
from tests.integration.topics import records_of
from tests.patience import until_found

N_EACH = 300
CONFIG = {
    "type": "bayesian_ab",
    "unit": "impression",
    "autoPromoteWinner": True,
    "minDuration": 0,
    "controlShare": 0.25,
    "guardrailMetrics": ["crash"],
    "metrics": {"crash": {"kind": "binary", "direction": "decrease", "mode": "harm"}},
}


async def show(http: httpx.AsyncClient, name: str, metric: str) -> list[dict[str, Any]]:
    """Assign requests, and let the metric be observed of all who see B."""
    body = {"experimentIds": [name], "units": [{}] * N_EACH}
    answer = await http.post("/assign", json=body)
    assert answer.status_code == 200, answer.text
    found = [row[0] for row in answer.json()["assignments"]]
    values = [
        {"assignmentId": each["id"], "metric": metric, "value": 1, "eventId": "e"}
        for each in found
        if each["variantName"] == "B"
    ]
    assert (await http.post("/observations", json=values)).status_code == 202
    return found


def decisions(settings: Settings) -> list[Decision]:
    """Return what was decided, each partition in order."""
    return [decode_decision(record.value()) for record in records_of(settings, "decisions")]


async def test_a_winner_that_does_harm_is_rolled_back_and_a_replay_is_equal(
    settings: Settings, tmp_path: Path
) -> None:
    """Its false alarms: a mismatch of the sample ratio, in less than one of 1,000 runs."""
    create_topics(settings)
    keyring = Keyring.parse(settings.signing_keys)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, **CONFIG)

            async def experiment() -> dict[str, Any]:
                return dict((await http.get(f"/experiments/{name}")).json())

            async def is_promoted() -> bool:
                return (await experiment())["promotion"] is not None

            async def is_rolled_back() -> bool:
                return (await experiment())["promotion"]["rolledBackAt"] is not None

            await show(http, name, "click")
            await until_found(is_promoted)
            promoted = await experiment()
            beside = await show(http, name, "crash")
            await until_found(is_rolled_back)
            rolled_back = await experiment()
            last = (await http.post(f"/experiments/{name}/assign", json={})).json()
            stats = (await http.get(f"/experiments/{name}/stats")).json()
        assert workers.stop()[-1] == 0

    assert (promoted["status"], promoted["winnerVariantId"]) == ("concluded", f"{name}_v1")
    assert promoted["promotion"]["isAutomatic"]
    assert promoted["promotion"]["controlShare"] == 0.25
    assert {each["propensity"] for each in beside} == {0.25, 0.75}
    assert {keyring.verify(each["id"]).variant for each in beside} == {256, 257}
    assert (rolled_back["status"], rolled_back["winnerVariantId"]) == ("concluded", f"{name}_v0")
    assert (last["variantName"], last["propensity"]) == ("A", 1.0)
    assert stats["totalAssignments"] == N_EACH  # those of the experiment, and no others
    [guardrail] = stats["evidence"]["sinceConclusion"]["guardrails"]
    assert guardrail["isTripped"]

    logged = decisions(settings)
    kinds = [each.evidence["command"] for each in logged if each.kind == "command"]
    assert kinds == ["create", "start", "conclude", "rollback"]
    assert [each.kind for each in logged].count(CONCLUSION) == 1
    assert [each.kind for each in logged if each.kind not in {"command", CONCLUSION}] == [
        "conclude_winner",
        "continue",
        "stop_guardrail",
        "continue",
    ]
    [because] = [
        each.evidence["because"] for each in logged if each.evidence.get("command") == "rollback"
    ]
    assert because["evidence"]["sinceConclusion"]["guardrails"][0]["isTripped"]
    assert because["reasonCode"] == "PROMOTED_HARMFUL"

    code, report = replayed(settings, "verify", "--experiment", name)
    assert (code, report["difference"]) == (0, None)
