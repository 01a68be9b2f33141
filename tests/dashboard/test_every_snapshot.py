"""Every snapshot that the engine can make has a page, a line in the list, and a terminal's text."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from api.http.pages import stats_page
from api.http.payloads import experiment_response, summary_response
from experiment_streams_client import Stats
from streams.analysis.evaluate import evaluate
from streams.cli.statistics_view import stats_view
from streams.experiments.snapshot import Snapshot
from tests.dashboard.conftest import Browser
from tests.dashboard.samples import series_json
from tests.streams.experiments.space import asked

FOUND = (87, 141, 170, 189)
"""Seeds of snapshots for which a long search found no page."""

NO_NUMBER = re.compile(r"(?<![\w-])(nan|NaN|inf|Infinity|None(?! [a-z])|undefined)(?![\w-])")
SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)


@pytest.mark.parametrize(
    ("seed", "is_whole"),
    [
        *((seed, False) for seed in (*FOUND, *range(200_000, 200_020))),
        *((seed, True) for seed in range(200_020, 200_040)),
    ],
)
def test_every_snapshot_has_its_pages(
    browser_of: Callable[..., Browser], seed: int, is_whole: bool
) -> None:
    snapshot = snapshot_of(seed, is_whole=is_whole)
    page = asyncio.run(stats_page(snapshot))
    experiment = answered(experiment_response(snapshot.experiment))
    place = f"/experiments/{experiment['id']}"
    listed = {**experiment, "summary": answered(summary_response(snapshot))}
    browser = browser_of(needs_key=False)
    browser.api.answers |= {
        f"GET {place}": (200, experiment),
        f"GET {place}/stats": (200, json.loads(page)),
        f"GET {place}/timeseries": (200, series_of(experiment)),
        "GET /experiments": (200, {"experiments": [listed], "nextCursor": None}),
    }

    for path in (place, "/", f"{place}/variants.csv"):
        answer = browser.get(path)
        assert answer.status_code == 200, path
        assert NO_NUMBER.search(SCRIPT.sub("", answer.text)) is None, path
    Console(file=io.StringIO()).print(stats_view(Stats.from_json(json.loads(page))))


def snapshot_of(seed: int, *, is_whole: bool) -> Snapshot:
    """Return a snapshot of at most 17 variants; the pages of 256 take seconds."""
    rng = random.Random(seed)
    while True:
        found = asked(lambda options: options[rng.randrange(len(options))], is_whole=is_whole)
        if found is not None and len(found[0].definition.variants) <= 17:
            return evaluate(*found)


def answered(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True))
    return found


def series_of(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return a series of two minutes of its variants."""
    series = series_json(2)
    names = [each["id"] for each in experiment["variants"]]
    for point in series["points"]:
        first, other = point["variants"][:2]
        point["variants"] = [
            {**(other if index else first), "id": name} for index, name in enumerate(names)
        ]
    return {**series, "controlId": names[0], "experimentId": experiment["id"]}
