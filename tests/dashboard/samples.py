"""An experiment of three variants as the API answers it, and changes of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from dashboard.views.facts import ExperimentFacts
from experiment_streams_client import Experiment, Stats

_SAMPLE = json.loads((Path(__file__).parent / "checkout.json").read_text())

CONTROL, BLUE, GREEN = (variant["id"] for variant in _SAMPLE["stats"]["variants"])


def experiment_json() -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(_SAMPLE["experiment"])
    return found


def stats_json() -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(_SAMPLE["stats"])
    return found


def listed_json(**summary: Any) -> dict[str, Any]:
    """Return the experiment as a list has it, with some values of its summary replaced."""
    usual = {
        "action": "continue",
        "reasonCode": "LEAD_UNCERTAIN",
        "headline": {"variantId": BLUE, "metric": "purchase", "value": 0.999, "limit": 0.95},
        "urgency": "continue",
        "leadVariantId": BLUE,
        "probabilityBest": 0.999,
        "units": 3000,
        "plannedUnits": None,
        "progress": None,
        "health": "ok",
        "healthCodes": [],
        "asOf": _SAMPLE["experiment"]["startedAt"] + 4_000,
        "version": 122,
    }
    return {**experiment_json(), "summary": {**usual, **summary}}


def history_json() -> list[dict[str, Any]]:
    entry = {
        "id": "0" * 32,
        "at": 1795978412625,
        "kind": "update",
        "author": "key:ana",
        "reason": "more people",
        "reasonCode": "",
        "version": 3,
        "accepted": True,
        "code": "",
        "changes": [{"path": "config.trafficAllocation", "before": 1.0, "after": 0.5}],
        "omittedChanges": 0,
        "undo": {
            "code": "COMPLETE",
            "method": "PATCH",
            "path": "/experiments/checkout-button",
            "body": {"trafficAllocation": 1.0},
        },
    }
    final = {"code": "FINAL", "method": "", "path": "", "body": {}}
    return [
        entry,
        {
            **entry,
            "kind": "start",
            "accepted": False,
            "code": "INVALID_TRANSITION",
            "changes": [],
            "undo": final,
        },
        {**entry, "kind": "of_tomorrow", "author": "schedule", "omittedChanges": 3, "undo": final},
    ]


def undone_by(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a history that a request undoes."""
    undo = {"code": "COMPLETE", "method": method, "path": path, "body": body}
    return {**history_json()[0], "id": "ab" * 16, "undo": undo}


def dry_run_json(*effects: dict[str, Any]) -> dict[str, Any]:
    change = {"path": "config.minSampleSize", "before": 500, "after": 100}
    return {
        "dryRun": True,
        "command": "update",
        "effects": [*effects],
        "changes": [change],
        "omittedChanges": 0,
        "experiment": experiment_json(),
    }


BEGIN = 1_795_978_408_000


def series_json(n: int, width: float = 0.1) -> dict[str, Any]:
    """Return a series whose range narrows as 1/place, about a difference of five points."""

    def variant(name: str, place: int) -> dict[str, Any]:
        against = {
            "probabilityBetter": 0.9,
            "difference": 0.05,
            "differenceLower": 0.02,
            "differenceUpper": 0.08,
            "sequenceLower": 0.05 - width / (place + 1) if place else None,
            "sequenceUpper": 0.05 + width / (place + 1) if place else None,
        }
        return {
            "id": name,
            "assignments": 100 * place,
            "exposures": None,
            "observations": place,
            "allocation": {CONTROL: 0.2, BLUE: 0.5, GREEN: 0.3}[name],
            "probabilityBest": 0.3,
            "mean": 0.1,
            "lower": 0.05,
            "upper": 0.15,
            "againstControl": None if name == CONTROL else against,
        }

    return {
        "experimentId": "exp_1",
        "metric": "purchase",
        "direction": "increase",
        "controlId": CONTROL,
        "width": 60,
        "points": [
            {
                "at": BEGIN + place * 60_000,
                "version": place,
                "status": "running",
                "recommendedAction": "continue",
                "reasonCode": "LEAD_UNCERTAIN",
                "variants": [variant(each, place) for each in (CONTROL, BLUE, GREEN)],
            }
            for place in range(n)
        ],
    }


PLACE = "observations:3:17:0"


def doctor_json(**changes: Any) -> dict[str, Any]:
    return {
        "at": BEGIN,
        "findings": [
            {
                "code": "NO_WORKER",
                "severity": "error",
                "what": "no worker is alive",
                "advice": "Start one by `experiment worker`.",
            },
            {
                "code": "RECEIPT_KEY_UNUSED",
                "severity": "note",
                "what": "receipt key 2 does not sign",
                "advice": "Keep it.",
            },
        ],
        "workers": 0,
        "lag": [
            {"topic": "impressions", "records": 1},
            {"topic": "observations", "records": 1_250},
        ],
        "partitions": [
            {
                "topic": "observations",
                "partition": partition,
                "begin": 0,
                "end": 2_000,
                "committed": committed,
                "lag": 2_000 - (committed or 0),
            }
            for partition, committed in enumerate((2_000, 750, None))
        ],
        "spool": {"bytes": 3 << 19, "maxBytes": 1 << 28, "fileBytes": 2 << 20, "damagedFiles": 1},
        "deadLetters": {"INVALID_VALUE": 3, "UNKNOWN_METRIC&": 1_200},
        **changes,
    }


def letter_json(**changes: Any) -> dict[str, Any]:
    return {
        "place": PLACE,
        "code": "INVALID_VALUE",
        "message": "`click` is declared binary, and 7 is neither 0 nor 1",
        "path": "observations[0].value",
        "writtenAt": BEGIN,
        "recordAt": -1,
        "topic": "observations",
        "partition": 3,
        "offset": 17,
        "index": 0,
        "count": 6,
        "ranges": [[0, 3], [7, 7]],
        "bytes": 1_536,
        "sha256": "ab" * 32,
        **changes,
    }


def letters_json(*letters: dict[str, Any], following: str | None = None) -> dict[str, Any]:
    found = letters or (letter_json(),)
    return {
        "letters": [*found],
        "nextCursor": following,
        "counts": {"INVALID_VALUE": sum(each["count"] for each in found)},
    }


def changed(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return JSON with values replaced by their dotted paths."""
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = into
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        place[int(last) if isinstance(place, list) else last] = value
    return into


def facts(
    stats: dict[str, Any] | None = None, experiment: dict[str, Any] | None = None
) -> ExperimentFacts:
    """Return the experiment with some values of either answer replaced."""
    return ExperimentFacts(
        Experiment.model_validate(changed(experiment_json(), experiment or {})),
        Stats.from_json(changed(stats_json(), stats or {})),
    )
