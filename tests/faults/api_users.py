"""Users who are assigned and observed by the API while it and all behind it fail."""

from __future__ import annotations

import random
from typing import Any

from streams.experiments.shared_units import LayerSpec
from streams.model.ids import experiment_number
from streams.model.quantities import MICRO
from tests.faults.api_calls import ApiCalls
from tests.integration.api_process import run_experiment

VOIDED_EVERY = 4  # so many users, one is voided
NAMES = ("A", "B", "C")
LAYER = LayerSpec(key="page", range=(0.0, 0.7))


class ApiUsers:
    """Users of four experiments: by assignment, by exposure, with eligible variants, and admitted.

    The last one is for some devices and a part of a layer; its traffic and variants change.

    Args:
        calls: Calls of the API.
        draws: Of what they do.
    """

    def __init__(self, calls: ApiCalls, draws: random.Random) -> None:
        self._calls = calls
        self._ledger = calls.ledger
        self._draws = draws
        self._users = 0
        self._plain = ""
        self._by_exposure = ""
        self._by_set = ""
        self._admitted = ""

    @property
    def experiments(self) -> list[int]:
        """Return the numbers of the experiments."""
        names = self._plain, self._by_exposure, self._by_set, self._admitted
        return [*map(experiment_number, names)]

    async def begin(self) -> None:
        """Create and start the experiments."""
        http = self._calls.http
        self._plain = await run_experiment(http, type="bayesian_ab", unit="user")
        self._by_exposure = await run_experiment(http, unit="user", exposure="event")
        self._by_set = await run_experiment(
            http,
            NAMES,
            type="bayesian_ab",
            unit="user",
            exposure="event",
            secondaryMetrics=["revenue"],
        )
        self._admitted = await run_experiment(
            http,
            NAMES,
            unit="user",
            targeting={"==": [{"var": "device"}, "mobile"]},
            layer=LAYER.model_dump(),
        )

    async def change(self) -> None:
        """Change the share of the units, and the variants, of the experiment that admits some."""
        path, draws = f"/experiments/{self._admitted}", self._draws
        share = {"trafficAllocation": draws.choice((0.5, 1.0))}
        await self._calls.answered(path, share, "PATCH")
        is_active = {"isActive": draws.random() < 0.5}
        await self._calls.answered(f"{path}/variants/{NAMES[-1]}", is_active, "PATCH")

    async def ask(self, users: int) -> None:
        """Have users assigned and observed, each call until it is answered."""
        for _ in range(users):
            self._users += 1
            user = {"userId": f"user-{self._users}"}
            await self._be_assigned(user)
            await self._be_exposed(user)
            await self._be_shown_one_of_a_set(user)
            await self._be_admitted(user)

    async def _be_assigned(self, user: dict[str, str]) -> None:
        assigned = await self._assigned(self._plain, user)
        click = self._click(assigned)
        await self._calls.answered("/observations", [click])
        self._ledger.count(assigned, "click", MICRO)
        if not self._users % VOIDED_EVERY:
            await self._void(assigned)

    async def _be_exposed(self, user: dict[str, str]) -> None:
        """Expose every other user; of the others no click counts."""
        assigned = await self._assigned(self._by_exposure, user)
        if self._users % 2:
            await self._expose(assigned)
            self._ledger.count(assigned, "click", MICRO)
        await self._calls.answered("/observations", self._click(assigned))

    async def _be_shown_one_of_a_set(self, user: dict[str, str]) -> None:
        """Assign among eligible variants, expose most, and observe by receipt and by user id."""
        draws = self._draws
        eligible = draws.sample(NAMES, draws.randint(1, len(NAMES)))
        asked = {**user, "eligible": eligible}
        assigned = await self._assigned(self._by_set, asked)
        is_voided_first = draws.random() < 1 / VOIDED_EVERY
        if is_voided_first:
            await self._void(assigned)
        if draws.random() < 0.7:
            await self._expose(assigned)
            self._ledger.count(assigned, "click", MICRO)
            self._ledger.count(assigned, "revenue", 2 * MICRO)
        again = await self._calls.answered(f"/experiments/{self._by_set}/assign", asked)
        assert again["id"] == assigned
        assert again["variantName"] in eligible
        order = {"metric": "revenue", "value": 2, "eventId": "order", "experiment": self._by_set}
        for event in ([{**user, **order}, self._click(assigned)], {**user, **order}):
            await self._calls.answered("/observations", event)
        if not is_voided_first and draws.random() < 1 / VOIDED_EVERY:
            await self._void(assigned)

    async def _be_admitted(self, user: dict[str, str]) -> None:
        """Assign a unit that may be excluded, of which nothing counts then."""
        device = self._draws.choice(("mobile", "desktop"))
        asked = {**user, "device": device}
        answer = await self._calls.answered(f"/experiments/{self._admitted}/assign", asked)
        if device != "mobile":
            assert answer["reason"] == "NOT_TARGETED"
        elif not LAYER.has(user["userId"]):
            assert answer["reason"] == "NOT_IN_LAYER"
        elif answer["enrolled"]:
            assigned = self._noted(answer)
            await self._calls.answered("/observations", self._click(assigned))
            self._ledger.count(assigned, "click", MICRO)
            return
        else:
            assert answer["reason"] == "NOT_ENROLLED"
        assert answer["id"] is None

    def _click(self, assigned: str) -> dict[str, object]:
        event = f"event-{self._users}"
        return {"assignmentId": assigned, "metric": "click", "value": 1, "eventId": event}

    async def _assigned(self, experiment: str, body: dict[str, Any]) -> str:
        answer = await self._calls.answered(f"/experiments/{experiment}/assign", body)
        assert answer["variantName"] in body.get("eligible", NAMES)
        return self._noted(answer)

    def _noted(self, answer: dict[str, Any]) -> str:
        """Note an assignment, and return its receipt."""
        self._calls.note(answer)
        return str(answer["id"])

    async def _expose(self, assigned: str) -> None:
        await self._calls.answered("/exposures", {"assignmentId": assigned})
        self._ledger.note_exposure(assigned)

    async def _void(self, assigned: str) -> None:
        void = {"assignmentId": assigned, "reason": "ivt"}
        await self._calls.answered("/assignments/void", [void])
        self._ledger.count_void(assigned, "ivt")
