"""A holdout over two experiments on a running stack: exact across a killed worker and a replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.unit_kind import UnitKind
from streams.policies.bucketing import lasting_unit
from tests.integration.up_process import Up, up
from tests.patience import PATIENCE_S, until

USERS = [f"user_{n}" for n in range(300)]
SPEC = HoldoutSpec(key="all-2026", share=0.3)
HOLDOUT = Holdout(SPEC.number, SPEC, 1, 0, UnitKind.USER)
VARIANTS = [{"name": "a", "isControl": True}, {"name": "b"}]


def held(user: str) -> bool:
    return HOLDOUT.holds(lasting_unit(user))


def verified(stack: Up, experiment_id: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "streams.cli", "replay", "verify", "--json"]
    options = ["--api", stack.url, "--experiment", experiment_id]
    state = {"XDG_STATE_HOME": str(stack.data.parent / "state")}
    ended = subprocess.run(
        command + options, env=os.environ | state, capture_output=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    return ended.returncode, json.loads(ended.stdout or b"null") or ended.stderr


class Engine:
    """Calls of the test."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def started(self, **config: Any) -> str:
        base = {"name": "n", "type": "bayesian_ab", "primaryMetric": "click", **config}
        body = {"config": base, "variants": VARIANTS}
        made = self.client.post("/experiments", json=body).json()
        assert self.client.post(f"/experiments/{made['id']}/start").is_success
        return str(made["id"])

    def assigned(self, name: str) -> dict[str, Any]:
        body = {"experimentIds": [name], "units": [{"userId": user} for user in USERS]}
        rows = self.client.post("/assign", json=body).json()["assignments"]
        return {user: row[0] for user, row in zip(USERS, rows, strict=True)}

    def observe(self, *observations: dict[str, Any]) -> None:
        answer = self.client.post("/observations", json=list(observations))
        assert answer.json() == {"accepted": len(observations)}

    def stats(self) -> dict[str, Any]:
        return dict(self.client.get("/holdouts/all-2026/stats").json())

    def counted(self) -> list[tuple[int, int, int]]:
        """Return units, clicks and what was spent, of both sides."""
        found = []
        for variant in self.stats()["variants"]:
            metrics = variant["stats"]["metrics"]
            clicks = metrics.get("click", {"observations": 0})["observations"]
            spent = int(metrics.get("spent", {"sumMicro": 0})["sumMicro"]) // 1_000_000
            found.append((variant["stats"]["exposures"], clicks, spent))
        return found


def test_held_out_units_and_all_others_are_counted_exactly(tmp_path: Path) -> None:
    with (
        up(tmp_path) as stack,
        httpx.Client(base_url=stack.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        engine = Engine(client)
        before = engine.started()
        old = engine.assigned(before)
        # A receipt from before counts nowhere but in its experiment, until its unit comes again.
        engine.observe({"assignmentId": old[USERS[0]]["id"], "metric": "click", "value": 1})
        begun = client.post("/holdouts", json={"key": "all-2026", "share": SPEC.share})
        assert begun.status_code == 201, begun.text
        after = engine.started(type="thompson_sampling", unit="user")
        until(lambda: "HOLDOUT" in {each["reason"] for each in engine.assigned(after).values()})
        first, second = engine.assigned(before), engine.assigned(after)
        for user in USERS:
            assert (first[user]["reason"] == "HOLDOUT") is held(user)
            assert (second[user]["reason"] == "HOLDOUT") is held(user)
            assert first[user]["id"] == (second if held(user) else old)[user]["id"]
        for index, user in enumerate(USERS):
            if index == len(USERS) // 2:
                stack.child("worker-1").kill()
            click = {"metric": "click", "value": 1, "eventId": f"c{index}"}
            engine.observe(
                {"assignmentId": first[user]["id"], **click},
                # One event, by the receipt of another experiment.
                {"assignmentId": second[user]["id"], **click},
                {"assignmentId": second[user]["id"], "metric": "spent", "value": index % 7},
            )
        engine.observe(*({"userId": user, "metric": "click", "value": 1} for user in USERS[:50]))
        bot = next(user for user in USERS if not held(user))
        void = {"assignmentId": second[bot]["id"], "reason": "bot"}
        assert client.post("/assignments/void", json=void).status_code == 202

        sides = [[user for user in USERS if held(user)], [u for u in USERS if not held(u)]]
        sides[1].remove(bot)
        expected = [
            (
                len(side),
                sum(1 + (user in USERS[:50]) for user in side),
                sum(USERS.index(user) % 7 for user in side),
            )
            for side in sides
        ]
        until(lambda: engine.counted() == expected)
        stats = engine.stats()
        assert stats["voided"] == [{"reason": "bot", "units": 1}]
        compared = stats["variants"][1]["stats"]["metrics"]
        for name in ("click", "spent"):
            assert compared[name]["againstControl"]["sequenceLower"] is not None
        code, report = verified(stack, begun.json()["experimentId"])
        assert code == 0, report

        assert client.delete("/holdouts/all-2026").json()["status"] == "ended"
        until(lambda: client.get("/holdouts/all-2026/stats?at=conclusion").is_success)
        until(lambda: "HOLDOUT" not in {each["reason"] for each in engine.assigned(after).values()})
