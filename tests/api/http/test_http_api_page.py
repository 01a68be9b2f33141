"""The page on the HTTP API: its bodies are taken as they stand there, and it has every code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from api.http.error_responses import STATUS_OF_CODE
from streams.analysis.evaluate import evaluate
from streams.model.vectors import unpack
from streams.tallies.cell import Tally
from tests.api.memory import KEYRING, Api

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "http-api.md"
CHECKING = ("api", "streams/experiments", "streams/policies", "streams/targeting")
"""Packages that refuse what callers send."""


def raised_codes() -> Iterator[str]:
    """Yield the codes that these packages give to their errors."""
    for package in CHECKING:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Name(id=name), args=[ast.Constant(value=str(code)), *_]
                    ) if (name == "problem" or name.endswith("Error")) and code.isupper():
                        yield code


def test_the_page_has_every_code_that_a_call_can_be_refused_with() -> None:
    codes = {*STATUS_OF_CODE, *raised_codes()}

    assert len(codes) > 100
    assert codes - set(re.findall(r"`([A-Z][A-Z_]+)`", PAGE.read_text())) == set()


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
