"""Schedules over HTTP: the schedule in an experiment's JSON, and changes of it."""

from __future__ import annotations

from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_number
from tests.api.memory import NOW_MS, Api

RAMP = [{"after": 60, "trafficAllocation": 0.5}, {"after": 120, "trafficAllocation": 1.0}]
SCHEDULE = {"startAt": NOW_MS, "endAt": NOW_MS + 600_000, "ramp": RAMP}
CONFIG = {"type": "bayesian_ab", "trafficAllocation": 0.1, "schedule": SCHEDULE}


async def advance(api: Api, name: str, at_ms: int, **payload: object) -> None:
    number = experiment_number(name)
    await api.worker.append(Command(f"{at_ms:032x}", number, CommandKind.SCHEDULE, at_ms, payload))
    api.experiments.put(api.projection.snapshot(name))


async def found(api: Api, name: str):
    answer = await api.http.get(f"/experiments/{name}")
    assert answer.status_code == 200
    return answer.json()


async def test_a_ramp_keeps_every_unit_that_is_in_and_the_end_ends_it(api: Api) -> None:
    name = await api.create(CONFIG)
    assert (await found(api, name))["schedule"] == {
        "events": [],
        "isHeld": False,
        "nextAt": NOW_MS,
    }

    taking_part: list[set[tuple[int, str]]] = []
    for at_ms in (NOW_MS, NOW_MS + 61_000, NOW_MS + 120_000):
        await advance(api, name, at_ms)
        body = {"experimentIds": [name], "units": [{"userId": f"u{n}"} for n in range(200)]}
        rows = (await api.http.post("/assign", json=body)).json()["assignments"]
        given = [row[0] for row in rows]
        taking_part.append({(n, a["variantId"]) for n, a in enumerate(given) if a["enrolled"]})

    first, second, third = taking_part
    assert first
    assert first < second < third  # in the same variants
    assert len(third) == 200
    running = await found(api, name)
    assert (running["status"], running["config"]["trafficAllocation"]) == ("running", 1.0)
    assert running["startedAt"] == NOW_MS
    assert [event["action"] for event in running["schedule"]["events"]] == ["start", "ramp", "ramp"]
    assert running["schedule"]["events"][1] == {
        "action": "ramp",
        "dueAt": NOW_MS + 60_000,
        "at": NOW_MS + 61_000,
        "lateMs": 1_000,
        "trafficAllocation": 0.5,
        "because": None,
    }
    assert running["schedule"]["nextAt"] == NOW_MS + 600_000

    await advance(api, name, NOW_MS + 600_000)
    over = await found(api, name)
    assert (over["status"], over["winnerVariantId"]) == ("concluded", None)
    assert over["schedule"]["nextAt"] is None


async def test_a_held_ramp_says_why_until_there_is_another_schedule(api: Api) -> None:
    held = {**SCHEDULE, "holdOn": ["sampleRatio"]}
    name = await api.create({**CONFIG, "schedule": held})
    await advance(api, name, NOW_MS)
    await advance(api, name, NOW_MS + 60_000, hold="sampleRatio")

    before = (await found(api, name))["schedule"]
    changed = await api.http.patch(f"/experiments/{name}", json={"schedule": {"ramp": RAMP[1:]}})

    assert before["isHeld"]
    assert before["events"][-1]["because"] == "sampleRatio"
    assert changed.status_code == 200
    assert changed.json()["schedule"] == {
        "events": [],
        "isHeld": False,
        "nextAt": NOW_MS + 120_000,
    }


async def test_a_ramp_that_goes_back_in_time_is_422(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})

    answer = await api.http.patch(f"/experiments/{name}", json={"schedule": {"ramp": RAMP[::-1]}})

    error = answer.json()["error"]
    assert answer.status_code == 422
    assert (error["code"], error["path"]) == ("RAMP_NOT_ASCENDING", "schedule.ramp[1].after")


async def test_an_experiment_without_a_schedule_has_none(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})

    assert (await found(api, name))["schedule"] is None
