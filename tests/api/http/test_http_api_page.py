"""The bodies that the page on the HTTP API shows are taken as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from streams.analysis.evaluate import evaluate
from streams.model.vectors import unpack
from streams.tallies.cell import Tally
from tests.api.memory import KEYRING, Api

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http-api.md"


async def test_the_contextual_experiment_of_the_page_runs_and_assigns(api: Api) -> None:
    [section] = re.findall(r"## A contextual experiment\n(.*?)\n## ", PAGE.read_text(), re.DOTALL)
    definition, context = map(json.loads, re.findall(r"```json\n(.*?)```", section, re.DOTALL))

    created = await api.http.post("/experiments", json=definition)
    assert created.status_code == 201, created.text
    name = str(created.json()["id"])
    assert (await api.http.post(f"/experiments/{name}/start")).status_code == 200
    model = evaluate(api.experiments.snapshot(name).experiment, Tally(), ()).model
    api.publish(name, model=model)
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)

    assert answer.status_code == 200, answer.text
    seen = unpack(KEYRING.verify(answer.json()["id"]).features)
    assert [index for index, _ in seen[:3]] == [0, 1, 3]
    assert len(seen) == 4
