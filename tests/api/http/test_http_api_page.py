"""The page on the HTTP API: its bodies are taken as they stand there, and it has every code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from api.http.error_responses import STATUS_OF_CODE
from streams.analysis.evaluate import evaluate
from streams.experiments.statistics.recommendation import ReasonCode
from streams.model.vectors import unpack
from streams.tallies.cell import Tally
from tests.api.memory import KEYRING, Api

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "http-api.md"
CHECKING = ("api", "streams/experiments", "streams/policies", "streams/targeting")
"""Packages that refuse what callers send."""

OFREP_CODES = {"INVALID_CONTEXT"}
"""Error codes of OFREP, which has bodies of another form."""


def raised_codes() -> Iterator[str]:
    """Yield the codes that these packages give to their errors, as texts or named constants."""
    for package in CHECKING:
        for path in (ROOT / package).rglob("*.py"):
            nodes = [*ast.walk(ast.parse(path.read_text()))]
            named = {
                target.id: node.value.value
                for node in nodes
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in nodes:
                match node:
                    case ast.Call(func=ast.Name(id=name), args=[argument, *_]) if (
                        name == "problem" or name.endswith("Error")
                    ):
                        code = _code(argument, named)
                        if code.isupper():
                            yield code


def _code(argument: ast.expr, named: Mapping[str, object]) -> str:
    """Return the text of an argument that is one, or the name of one; else empty."""
    match argument:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return str(named.get(name, ""))
    return ""


def codes_of(heading: str) -> set[str]:
    """Return the codes in the section under a heading of the page."""
    [section] = re.findall(
        rf"^#+ {heading}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return set(re.findall(r"`([A-Z][A-Z_]+)`", section))


def test_the_table_of_errors_has_every_code_that_a_call_can_be_refused_with() -> None:
    codes = {*STATUS_OF_CODE, *raised_codes()} - OFREP_CODES

    assert len(codes) > 100
    assert codes - codes_of("Errors") == set()
    assert codes_of("Feature flags") >= OFREP_CODES


def test_the_table_of_reasons_has_every_reason_of_a_recommendation() -> None:
    assert codes_of("Reason codes") >= {*ReasonCode}


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
