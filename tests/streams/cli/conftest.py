"""An API that answers by a script, over real HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streams.cli.main import app

EXPERIMENT_ID = "exp_0000000000000"


@dataclass(slots=True)
class ScriptedApi:
    """Scripted answers to `METHOD path`, with its query or without, and the requests received."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run `experiment ARGUMENTS --api URL`."""
        return CliRunner().invoke(app, [*arguments, "--api", self.url], input=stdin)


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    scripted = ScriptedApi()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            line = f"{self.command} {self.path}"
            size = int(self.headers.get("Content-Length", 0))
            scripted.requests.append((line, json.loads(self.rfile.read(size) or b"null")))
            unknown = {"error": {"code": "NOT_FOUND", "message": line, "path": ""}}
            named = line if line in scripted.answers else line.partition("?")[0]
            status, payload = scripted.answers.get(named, (404, unknown))
            body = json.dumps(payload).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - names the base class calls

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scripted.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield scripted
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def experiment() -> dict[str, Any]:
    """The JSON of an experiment."""
    return {
        "id": EXPERIMENT_ID,
        "status": "draft",
        "version": 1,
        "config": {"name": "Hero", "type": "ucb", "primaryMetric": "click", "unit": "impression"},
        "variants": [
            {"id": f"{EXPERIMENT_ID}_v0", "name": "A", "isControl": True, "config": {}},
            {"id": f"{EXPERIMENT_ID}_v1", "name": "B", "isControl": False, "config": {}},
        ],
        "createdAt": 1_700_000_000_000,
    }


def variant_stats(index: int, name: str, clicks: int, sum_micro: int) -> dict[str, Any]:
    metric = {
        "kind": "binary",
        "units": clicks,
        "mean": 0.1,
        "lower": 0.05,
        "upper": 0.15,
        "undefined": None,
        "posterior": {"family": "beta", "parameters": {"alpha": 124.0, "beta": 1112.0}},
    }
    against = {
        "probabilityBetter": 0.875,
        "expectedLoss": 0.0001,
        "difference": 0.01,
        "differenceLower": -0.02,
        "differenceUpper": 0.04,
        "relative": 0.1,
        "relativeLower": -0.2,
        "relativeUpper": 0.4,
        "pValue": 0.25,
        "sequenceLower": -0.03,
        "sequenceUpper": 0.05,
        "relativeSequenceLower": -0.3,
        "relativeSequenceUpper": 0.5,
        "sequenceUndefined": None,
    }
    metric["againstControl"] = against if index else None
    return {
        "id": f"{EXPERIMENT_ID}_v{index}",
        "name": name,
        "isControl": index == 0,
        "isActive": True,
        "config": {},
        "stats": {
            "assignments": 1234,
            "exposures": None,
            "observations": clicks + 3,
            "mean": 0.1,
            "lower": 0.05,
            "upper": 0.15,
            "probabilityBest": 0.75,
            "expectedLoss": 0.001,
            "allocation": 0.5,
            "metrics": {
                "click": metric | {"observations": clicks, "sumMicro": clicks * 1_000_000},
                "revenue": metric | {"observations": 3, "sumMicro": sum_micro},
            },
        },
    }


def metric_model(role: str) -> dict[str, Any]:
    return {
        "role": role,
        "direction": "increase",
        "kind": "binary",
        "isDeclared": False,
        "contradiction": None,
        "periods": None,
        "varianceRemoved": None,
        "conversionWindow": 0,
        "conversionDelay": 0,
        "onlyMature": True,
        "winsorizedAt": None,
    }


@pytest.fixture
def stats() -> dict[str, Any]:
    """The JSON of an experiment's statistics."""
    return {
        "experimentId": EXPERIMENT_ID,
        "key": None,
        "name": "Hero",
        "type": "ucb",
        "unit": "impression",
        "status": "running",
        "primaryMetric": "click",
        "version": 9,
        "asOf": 1_700_000_000_000,
        "totalAssignments": 2468,
        "totalExposures": None,
        "outside": [],
        "voided": [],
        "totalObservations": 300,
        "duplicates": 2,
        "variants": [
            variant_stats(0, "A", 120, 49_990_000),
            variant_stats(1, "B", 174, 99_980_000),
        ],
        "winner": None,
        "confidence": 0.75,
        "recommendedAction": "continue",
        "reasonCode": "PROBABILITY_BEST",
        "reason": "no variant is certain yet",
        "metrics": {"click": metric_model("primary"), "revenue": metric_model("guardrail")},
        "evidence": {
            "leader": f"{EXPERIMENT_ID}_v1",
            "probabilityBest": 0.75,
            "expectedLoss": 0.0001,
            "relativeLoss": 0.001,
            "valueRemaining": None,
            "error": 0.05,
            "plannedInformation": None,
            "progress": None,
            "units": {f"{EXPERIMENT_ID}_v0": 1234, f"{EXPERIMENT_ID}_v1": 1234},
            "unitsWithValue": {f"{EXPERIMENT_ID}_v0": 120, f"{EXPERIMENT_ID}_v1": 174},
            "unitsNeeded": {f"{EXPERIMENT_ID}_v0": 0, f"{EXPERIMENT_ID}_v1": 0},
            "negligible": 0.001,
            "durationMs": 86_400_000,
            "comparisons": [
                {
                    "variantId": f"{EXPERIMENT_ID}_v0",
                    "lower": -0.01,
                    "upper": None,
                    "pValue": 0.25,
                    "tailsSeen": True,
                    "error": 0.05,
                }
            ],
            "sinceConclusion": None,
            "outlook": {
                "detectable": 0.31,
                "detectableAtEnd": None,
                "power": None,
                "powerAtEnd": None,
                "conditionalPower": None,
                "remainingMs": None,
            },
            "maturity": {
                "window": 86_400,
                "units": {f"{EXPERIMENT_ID}_v0": 90, f"{EXPERIMENT_ID}_v1": 88},
                "unitsWithValue": {f"{EXPERIMENT_ID}_v0": 40, f"{EXPERIMENT_ID}_v1": 50},
                "late": 3,
                "early": 2,
                "warning": None,
            },
            "weighting": "overlap",
            "excludedUnits": {f"{EXPERIMENT_ID}_v0": 0, f"{EXPERIMENT_ID}_v1": 0},
            "unexposed": None,
            "miscounts": {
                "unrememberedUnits": 0,
                "unrememberedObservations": 0,
                "isMemoryFull": False,
                "unitsInSeveralVariants": 0,
                "isInSeveralVariants": False,
                "mostEvents": 0,
                "fullUnits": 0,
                "isHeavy": False,
                "heavyUnits": [],
            },
            "sampleRatio": {
                "pValue": 1.0,
                "isMismatch": False,
                "ratios": {f"{EXPERIMENT_ID}_v0": 1.0, f"{EXPERIMENT_ID}_v1": None},
            },
            "guardrails": [
                {
                    "metric": "revenue",
                    "variantId": f"{EXPERIMENT_ID}_v1",
                    "toleratedHarm": 0.02,
                    "harm": -0.1,
                    "pValue": 1.0,
                    "isTripped": False,
                    "margin": 0.25,
                    "marginPValue": 0.4,
                    "isProven": False,
                }
            ],
            "promotionObstacles": ["NO_WINNER"],
        },
        "features": [],
        "dimensions": [],
        "misspelt": [],
        "failure": None,
    }
