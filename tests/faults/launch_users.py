"""Users of experiments that a schedule starts and ends, a holdout covers, and that ship a winner.

All while the API and what is behind it fail.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.lifecycle import Status
from streams.experiments.schedule import History, HoldOn, ScheduleAction
from streams.experiments.unit_kind import UnitKind
from streams.model.events import CommandKind
from streams.model.ids import experiment_number
from streams.model.quantities import MICRO
from streams.policies.bucketing import lasting_unit
from tests.faults.api_calls import PAUSE_S, ApiCalls
from tests.integration.api_process import run_experiment
from tests.patience import PATIENCE_S

HELD = 12  # its ramp is held
RAMP = ((1, 0.3), (4, 0.6), (8, 1.0))
"""Seconds after the start, and the share of the units from then on."""
FIRST_SHARE = 0.1
END_S = 20
SHIPPED_AT = 2  # the change at which a winner is shipped
BATCHES_OF_ONE_VARIANT = 20


class LaunchUsers:
    """Users of three experiments, and impressions of one whose ramp is held.

    Args:
        calls: Calls of the API.
        draws: Of what they do.
    """

    def __init__(self, calls: ApiCalls, draws: random.Random) -> None:
        self._calls = calls
        self._ledger = calls.ledger
        self._draws = draws
        self._users = 0
        self._changes = 0
        self._ramped = ""
        self._covered = ""
        self._shipping = ""
        self._holdout: Holdout
        self._in: dict[str, str] = {}  # receipts of the users of the ramped one
        self._late: list[str] = []  # receipts of the one that ships, not observed yet
        self._observed = 0  # of the one that ships, before that
        self._report: dict[str, Any] = {}

    @property
    def experiments(self) -> list[int]:
        """Return the numbers of the experiments, and of the holdout."""
        names = self._ramped, self._covered, self._shipping
        return [*map(experiment_number, names), self._holdout.number, HELD]

    async def begin(self) -> None:
        """Create the experiments and the holdout; the ramp of one is to be held at once."""
        calls = self._calls
        self._hold()
        self._covered = await run_experiment(calls.http, unit="user")
        self._shipping = await run_experiment(calls.http, type="bayesian_ab", unit="user")
        spec = HoldoutSpec(key="held-out", share=0.4, experiments=(self._covered,))
        await calls.answered("/holdouts", spec.model_dump(mode="json"), key="holdout")
        self._holdout = Holdout(spec.number, spec, 1, 0, UnitKind.USER)
        now_ms = time.time_ns() // 1_000_000
        schedule = {
            "startAt": now_ms,
            "endAt": now_ms + END_S * 1_000,
            "ramp": [{"after": after, "trafficAllocation": share} for after, share in RAMP],
        }
        config = {
            "name": "launch",
            "type": "bayesian_ab",
            "primaryMetric": "click",
            "unit": "user",
            "trafficAllocation": FIRST_SHARE,
            "schedule": schedule,
        }
        variants = [{"name": "A", "isControl": True}, {"name": "B"}]
        body = {"config": config, "variants": variants}
        self._ramped = (await calls.answered("/experiments", body, key="ramped"))["id"]

    def _hold(self) -> None:
        """Have a step of a ramp due that the sample ratio holds, once all of it is counted."""
        ledger = self._ledger
        ledger.start_experiment(HELD, type="bayesian_ab", exposure="event", trafficAllocation=0.2)
        for partition in [*range(4)] * (BATCHES_OF_ONE_VARIANT // 4):
            for receipt in ledger.assign(HELD, partition):
                if ledger.is_of_variant(receipt, 0):
                    ledger.expose(receipt)
        assert ledger.producer.flush(60) == 0
        ramp = [{"after": 0, "trafficAllocation": 0.9}]
        schedule = {"ramp": ramp, "holdOn": ["sampleRatio"]}
        ledger.append(HELD, CommandKind.UPDATE, {"schedule": schedule})

    async def change(self) -> None:
        """Ship a winner, at one of the calls."""
        self._changes += 1
        if self._changes != SHIPPED_AT:
            return
        path = f"/experiments/{self._shipping}"
        winner = {"winnerVariantId": f"{self._shipping}_v1"}
        await self._calls.answered(f"{path}/conclude", winner, key="ship")
        self._report = await self._frozen()
        for number, receipt in enumerate(self._late):
            await self._click(receipt, f"late-{number}")

    async def _frozen(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        path = f"/experiments/{self._shipping}/stats?at=conclusion"
        while True:
            found = await self._calls.answered(path, method="GET", code="REPORT_NOT_READY")
            if isinstance(found, dict):
                return found
            assert time.monotonic() < deadline, path
            await asyncio.sleep(PAUSE_S)

    async def ask(self, users: int) -> None:
        """Have users assigned and observed, each call until it is answered."""
        for _ in range(users):
            self._users += 1
            user = f"user-{self._users}"
            await self._be_ramped(user)
            await self._come_again()
            await self._be_covered(user)
            await self._be_shipped(user)

    async def _be_ramped(self, user: str) -> None:
        """Take part before, while or after the ramp; what is not enrolled does not count."""
        answer = await self._assigned(self._ramped, user, "EXPERIMENT_NOT_RUNNING")
        if answer is None:
            return
        if answer["enrolled"]:
            self._calls.note(answer)
            self._in[user] = answer["id"]
            await self._click(answer["id"], f"event-{user}")
            return
        assert answer["reason"] in {"NOT_ENROLLED", "SHIPPED"}, answer
        assert answer["id"] is None

    async def _come_again(self) -> None:
        """Ask for a user who was in: whatever the ramp, the receipt is the same until the end."""
        if not self._in:
            return
        user = self._draws.choice(sorted(self._in))
        answer = await self._assigned(self._ramped, user, "EXPERIMENT_NOT_RUNNING")
        if answer is not None and answer["reason"] != "SHIPPED":
            assert answer["id"] == self._in[user]

    async def _be_covered(self, user: str) -> None:
        """Be held out or not, and count for the holdout on that side."""
        answer = await self._assigned(self._covered, user)
        assert answer is not None
        ledger = self._ledger
        is_held = self._holdout.holds(lasting_unit(user))
        assert (answer["reason"] == "HOLDOUT") is is_held, answer
        side = self._holdout.number, int(not is_held)
        ledger.exposures[side] += 1
        await self._calls.observe(answer["id"], f"event-{user}")
        ledger.observations[*side, "click"] += 1
        ledger.totals[*side, "click"] += MICRO
        if not is_held:
            self._calls.note(answer)
            ledger.count(answer["id"], "click", MICRO)

    async def _be_shipped(self, user: str) -> None:
        """Be assigned, or get the winner once it is shipped; every other click comes late."""
        answer = await self._assigned(self._shipping, user)
        assert answer is not None
        if self._report:
            assert (answer["reason"], answer["variantName"]) == ("SHIPPED", "B"), answer
            assert answer["id"] is None
            return
        self._calls.note(answer)
        if self._users % 2:
            await self._click(answer["id"], f"event-{user}")
            self._observed += 1
        else:
            self._late.append(answer["id"])

    async def _click(self, receipt: str, event: str) -> None:
        await self._calls.observe(receipt, event)
        self._ledger.count(receipt, "click", MICRO)

    async def _assigned(self, name: str, user: str, code: str = "") -> dict[str, Any] | None:
        """Return the answer to a user; None if it is the error of that code."""
        path = f"/experiments/{name}/assign"
        found = await self._calls.answered(path, {"userId": user}, code=code)
        return found if isinstance(found, dict) else None

    def missing(self) -> str:
        """Return which steps of a schedule were not done, each once and in order; empty if none."""
        expected = {
            experiment_number(self._ramped): (Status.CONCLUDED, _ramped),
            HELD: (
                Status.RUNNING,
                lambda _: [(ScheduleAction.HOLD, None, HoldOn.SAMPLE_RATIO)],
            ),
        }
        for number, (status, steps) in expected.items():
            snapshot = self._ledger.snapshot(number)
            if snapshot is None:
                return f"{number} is not published"
            experiment = snapshot.experiment
            history = experiment.history
            found = [(e.action, e.traffic_allocation, e.because) for e in history]
            wanted = steps(history)
            if (experiment.status, found) != (status, wanted):
                return f"{experiment.id}: {experiment.status} {found} instead of {status} {wanted}"
            assert all(each.at_ms >= each.due_at_ms for each in history)
        return ""

    async def check(self) -> None:
        """Return if the report of the conclusion is what it was."""
        if self._report:
            assert await self._frozen() == self._report
            # What was observed after it is in the statistics alone.
            assert self._report["totalObservations"] <= self._observed


def _ramped(history: History) -> list[tuple[ScheduleAction, float | None, HoldOn | None]]:
    """Return the steps of the ramp, which counts from the start, that were due before the end.

    No worker may have run until then, and the start is as late as the worker.
    """
    begun_ms, ended_ms = history[0].at_ms if history else 0, history[-1].at_ms if history else 0
    shares = [share for after, share in RAMP if begun_ms + after * 1_000 <= ended_ms]
    return [
        (ScheduleAction.START, None, None),
        *((ScheduleAction.RAMP, share, None) for share in shares),
        (ScheduleAction.END, None, None),
    ]
