"""A contextual experiment on real servers: it learns who likes what, and the log gives it again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.kafka.admin import create_topics
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.integration.test_replay import replayed
from tests.patience import until_found

FEATURES = [
    {"name": "device", "type": "category", "values": ["mobile", "desktop"]},
    {"name": "age", "type": "number", "minimum": 0, "maximum": 100},
    {"name": "campaign", "type": "hashed", "buckets": 8},
]
N_EACH = 150
N_MISSPELT = 9
BEST = {"mobile": "A", "desktop": "B"}


async def show(http: httpx.AsyncClient, name: str, device: str) -> list[dict[str, Any]]:
    """Assign requests of a device, and let those who see what they like click."""
    units = [
        {"device": device, "features": {"age": number % 80, "campaign": f"c{number % 5}"}}
        for number in range(N_EACH)
    ]
    answer = await http.post("/assign", json={"experimentIds": [name], "units": units})
    assert answer.status_code == 200, answer.text
    found = [row[0] for row in answer.json()["assignments"]]
    clicks = [
        {"assignmentId": each["id"], "metric": "click", "value": 1, "eventId": "c"}
        for each in found
        if each["variantName"] == BEST[device]
    ]
    if clicks:
        assert (await http.post("/observations", json=clicks)).status_code == 202
    return found


@pytest.mark.parametrize("kind", ["lin_ucb", "lin_ts"])
async def test_variants_follow_the_context_and_a_replay_is_equal(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    create_topics(settings)
    keyring = Keyring.parse(settings.signing_keys)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, type=kind, parameters={"features": FEATURES})
            shares: defaultdict[str, list[float]] = defaultdict(list)
            n_shown = n_clicks = 0

            async def is_known() -> bool:
                """Return whether the API decides by all that happened."""
                stats = (await http.get(f"/experiments/{name}/stats")).json()
                counted = stats["totalAssignments"], stats["totalObservations"]
                return bool(counted == (n_shown, n_clicks))

            for _ in range(3):
                for device, best in BEST.items():
                    found = await show(http, name, device)
                    liked = sum(each["variantName"] == best for each in found)
                    shares[device].append(liked / N_EACH)
                    n_shown, n_clicks = n_shown + N_EACH, n_clicks + liked
                    for each in found:
                        receipt = keyring.verify(each["id"])
                        assert receipt.propensity == each["propensity"] * PROPENSITY_ONE
                        assert keyring.verify(each["id"]).features
                await until_found(is_known)
            for _ in range(N_MISSPELT):
                await http.post(f"/experiments/{name}/assign", json={"device": "Mobile"})
            n_shown += N_MISSPELT
            await until_found(is_known)
            features = (await http.get(f"/experiments/{name}/stats")).json()["features"]
        assert workers.stop()[-1] == 0

    code, report = replayed(settings, "verify", "--experiment", name)

    assert [(each["name"], each["units"], each["unknownUnits"]) for each in features] == [
        ("device", 6 * N_EACH + N_MISSPELT, N_MISSPELT),
        ("campaign", 6 * N_EACH + N_MISSPELT, N_MISSPELT),
    ]
    # At first nothing is known: a half of 150, and 30 more or less are five deviations. In the end
    # 99 % on either device, and fewer than 90 % of 150 happens once in 10**9 times.
    assert 0.3 < shares["mobile"][0] < 0.7
    assert all(share[-1] > 0.9 for share in shares.values())
    assert (code, report["difference"]) == (0, None)
    assert report["snapshots"] >= 1
    assert report["cells"] >= 2
    assert report["behind"] == 0
