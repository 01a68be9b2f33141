"""Definitions around the bound of their size, on real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.experiments.definition import MAX_DEFINITION_BYTES, parse_definition
from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of
from tests.integration.engine_ledger import workers_of
from tests.patience import until_found

CONFIG = {"name": "Large", "type": "thompson_sampling", "primaryMetric": "click", "unit": "user"}
FILLINGS = ["x", '"', "\u00e9", "\u0001", "\U0001f600"]
"""Characters that cost 1 to 12 bytes in JSON, more so inside of another JSON text."""


def definition(filling: str, n: int) -> dict[str, Any]:
    """Return a definition whose second variant has a long text."""
    variants = [{"name": "A", "isControl": True}, {"name": "B", "config": {"text": filling * n}}]
    return {"config": CONFIG, "variants": variants}


def size(body: dict[str, Any]) -> int:
    found = parse_definition(body["config"], body["variants"])
    return len(found.model_dump_json(by_alias=True).encode())


def just_below(filling: str) -> dict[str, Any]:
    """Return the largest definition of this kind."""
    one = size(definition(filling, 1_001)) - size(definition(filling, 1_000))
    n = 1_000 + (MAX_DEFINITION_BYTES - size(definition(filling, 1_000))) // one
    body = definition(filling, n)
    assert MAX_DEFINITION_BYTES - one < size(body) <= MAX_DEFINITION_BYTES
    return body


@pytest.mark.timeout(480)
async def test_a_definition_is_refused_beyond_its_bound_and_lives_below_it(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            body = json.dumps(definition("x", 1_040_000 - 250))
            assert 1_039_000 < len(body) < 1_048_576  # within the limit of bodies
            refused = await http.post("/experiments", content=body)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (422, "DEFINITION_TOO_LARGE")
            assert error["path"] == "variants[1].config"
            assert f"{MAX_DEFINITION_BYTES}" in error["message"]

            for filling in FILLINGS:
                text = json.dumps(just_below(filling), ensure_ascii=False)
                created = await http.post("/experiments", content=text.encode())
                assert created.status_code == 201, (filling, created.text)
                name = created.json()["id"]
                started = await http.post(f"/experiments/{name}/start")
                assert started.status_code == 200, (filling, started.text)
                receipts = []
                for unit in range(10):
                    answer = await http.post(
                        f"/experiments/{name}/assign", json={"userId": f"u{unit}"}
                    )
                    assert answer.status_code == 200, (filling, answer.text[:500])
                    receipts.append(answer.json()["id"])
                clicks = [
                    {"assignmentId": each, "metric": "click", "value": 1} for each in receipts
                ]
                sent = await http.post("/observations", json=clicks)
                assert sent.status_code == 202, (filling, sent.text)

                async def is_counted(name: str = name) -> bool:
                    found = (await http.get(f"/experiments/{name}/stats")).json()
                    assert found["failure"] is None
                    counts = found["totalAssignments"], found["totalObservations"]
                    return bool(counts == (10, 10))

                await until_found(is_counted)
                paused = await http.post(f"/experiments/{name}/pause")
                assert paused.status_code == 200, (filling, paused.text)
        assert workers.stop()[-1] == 0
