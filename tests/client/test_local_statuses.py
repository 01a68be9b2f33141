"""A process that assigns locally answers as the API does, whatever the status of an experiment."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.api.http_server import Served, served
from tests.api.memory import Api
from tests.client.test_local_assigner import assigning
from tests.client.test_local_equality import answered, comparable
from tests.patience import until_found

Command = tuple[str, dict[str, Any]]
START: Command = ("start", {})
PAUSE: Command = ("pause", {})
WINNER = {"winnerVariantId": "_v1"}
NONE: Command = ("conclude", {"serve": "none"})
STATUSES: dict[str, tuple[Command, ...]] = {
    "draft": (),
    "running": (START,),
    "paused": (START, PAUSE),
    "resumed": (START, PAUSE, ("resume", {})),
    "concluded": (START, NONE),
    "concluded while paused": (START, PAUSE, NONE),
    "shipped": (START, ("conclude", WINNER)),
    "shipped to some": (START, ("conclude", {**WINNER, "controlShare": 0.4})),
    "shipped control": (START, ("conclude", {**WINNER, "serve": "control"})),
    "archived": (START, NONE, ("archive", {})),
}
LAYERS = ("none", "own", "shared", "taken", "taken by a paused one")
RULE = {"==": [{"var": "device"}, "mobile"]}
ADMISSIONS: tuple[dict[str, Any], ...] = ({}, {"targeting": RULE, "overrides": {"user_0": "B"}})
UNITS = ("user", "impression")
REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    *({"userId": f"user_{n}", "device": ("mobile", "tv")[n % 2]} for n in range(4)),
    {"userId": "user_0", "device": "tv", "eligible": ["A"]},
    {"userId": "anonymous", "device": "mobile"},
    {"userId": "user_9", "timestamp": 1, "device": "mobile"},
)


async def command(api: Api, name: str, kind: str, body: dict[str, Any]) -> None:
    if "winnerVariantId" in body:
        body = {**body, "winnerVariantId": f"{name}_v1"}
    answer = await api.http.post(f"/experiments/{name}/{kind}", json=body)
    assert answer.is_success, answer.text


async def made(api: Api, key: str, layer: str, config: dict[str, Any], status: str) -> None:
    """Make an experiment with a status, whose layer is as named."""
    commands = list(STATUSES[status])
    config = {"type": "bayesian_ab", "key": key, **config}
    if layer.startswith("taken") and commands:
        first, name = await api.run_overlapping(config, layer=key)
        commands.pop(0)
        if layer != "taken":
            await command(api, first, *PAUSE)
    else:
        layers = {
            "own": {"key": key, "range": [0.0, 1.0]},
            "shared": {"key": key, "range": [0, 0.5]},
        }
        name = await api.create(config | ({"layer": layers[layer]} if layer in layers else {}))
    for kind, body in commands:
        await command(api, name, kind, body)


async def check(server: Served, assigner: Any, key: str, unit: str) -> Counter[str]:
    """Compare the answers to all requests; return how often each reason or code came."""
    found: Counter[str] = Counter()
    for asked in REQUESTS:
        theirs = await server.api.http.post(f"/experiments/{key}/assign", json=asked)
        mine = await answered(assigner, key, asked)
        if theirs.is_success:
            assert not isinstance(mine, tuple), (key, mine, asked)
            is_drawn = unit == "impression"
            assert comparable(mine, is_drawn) == comparable(theirs.json(), is_drawn), (key, asked)
            found[mine["reason"]] += 1
            continue
        error = theirs.json()["error"]
        if error["code"] == "EXPERIMENT_NOT_RUNNING":  # here it has no status
            error["path"] = "experimentId"
        assert mine == (error["code"], error["path"]), (key, asked)
        found[error["code"]] += 1
    return found


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("has_holdout", [False, True], ids=["", "holdout"])
async def test_every_status_answers_as_at_the_api(
    tmp_path: Path, unit: str, has_holdout: bool
) -> None:
    async with served(tmp_path / "api") as server:
        cases = [*product(STATUSES, LAYERS, ADMISSIONS)]
        for n, (status, layer, admission) in enumerate(cases):
            await made(server.api, f"k{n}", layer, {"unit": unit, **admission}, status)
        if has_holdout:
            body = {"key": "h", "share": 0.5, "unit": "user"}
            assert (await server.api.http.post("/holdouts", json=body)).status_code == 201
        found: Counter[str] = Counter()
        async with assigning(server, tmp_path / "local", timeout_s=60.0) as call:
            for n in range(len(cases)):
                found += await check(server, call.assigner, f"k{n}", unit)
    expected = {"ASSIGNED", "NOT_IN_LAYER", "NOT_TARGETED", "FORCED", "SHIPPED", "LAYER_OVERLAP"}
    assert found.keys() >= expected | {"EXPERIMENT_NOT_RUNNING"}
    assert ("HOLDOUT" in found) == has_holdout


WALK: dict[str, tuple[Command, ...]] = {
    "running": (PAUSE, NONE, ("conclude", WINNER)),
    "paused": (("resume", {}), NONE),
    "concluded": (("archive", {}),),
    "archived": (),
}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_changes_the_answers_become_those_of_the_api(
    tmp_path: Path, seed: int
) -> None:
    """Of two overlapping experiments of a layer, until both are archived."""
    draws = random.Random(seed)
    async with served(tmp_path / "api") as server:
        http = server.api.http
        names = await server.api.run_overlapping({"type": "bayesian_ab", "unit": "user"})
        async with assigning(server, tmp_path / "local", timeout_s=60.0) as call:

            async def agree() -> bool:
                try:
                    for name in names:
                        await check(server, call.assigner, name, "user")
                except AssertionError:
                    return False
                return True

            left = set(names)
            while left:
                name = draws.choice(sorted(left))
                status = (await http.get(f"/experiments/{name}")).json()["status"]
                if not WALK[status]:
                    left.discard(name)
                    continue
                kind, body = draws.choice(WALK[status])
                answer = await http.post(
                    f"/experiments/{name}/{kind}",
                    json={**body, **({"winnerVariantId": f"{name}_v1"} if body == WINNER else {})},
                )
                # Where the other one of the layer has its units, it is not resumed.
                assert answer.status_code in {200, 422}, answer.text
                await until_found(agree)
