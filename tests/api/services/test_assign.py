"""Assignments over HTTP: who gets what, what is logged, and what is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.receipts.recent import RecentUnits
from api.services.outside import log_outside
from streams.experiments.assignment_reason import Reason
from streams.experiments.snapshot import Allocation
from streams.model.events import OutsideRequests
from streams.model.ids import experiment_number
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipt_layout import raw_of, text_of
from streams.model.receipts import Keyring
from streams.policies.bucketing import draws
from streams.projection.receipts import ReceiptPlace
from tests.api.memory import DAY_MS, KEYRING, NOW_MS, Api, memory_api


async def test_an_impression_gets_a_variant_and_a_receipt_and_is_logged(api: Api) -> None:
    name = await api.run()

    answer = await api.http.post(
        f"/experiments/{name}/assign",
        json={"userId": "u", "device": "mobile", "location": "US", "features": {"age": 35}},
    )

    assert answer.status_code == 200
    found = answer.json()
    assert list(found) == [
        "id", "experimentId", "variantId", "variantName", "config", "enrolled", "reason",
        "propensity",
    ]  # fmt: skip
    receipt = KEYRING.verify(found["id"])
    assert found["experimentId"] == name
    assert found["variantId"] == f"{name}_v{receipt.variant}"
    assert found["config"] == {"adId": f"ad_{receipt.variant + 1}"}
    assert (found["enrolled"], found["reason"], found["propensity"]) == (True, "ASSIGNED", 0.5)
    assert receipt.propensity == PROPENSITY_ONE // 2
    assert (receipt.assigned_at_ms, receipt.attribution_window_s) == (NOW_MS, 86_400)

    [batch] = api.topics.impressions()
    [group] = batch.groups
    assert (batch.incarnation, batch.sequence) == (7, 0)
    assert not group.repeatable
    assert (list(group.variants), list(group.units)) == ([receipt.variant], [receipt.unit])
    logged = orjson.loads(group.contexts[0])
    assert logged == {"device": "mobile", "location": "US", "features": {"age": 35}}


async def test_every_impression_is_a_separate_unit(api: Api) -> None:
    name = await api.run()

    ids = [await assigned_id(api, name, userId="u") for _ in range(8)]

    assert len({KEYRING.verify(text).unit for text in ids}) == 8


async def test_the_time_of_the_request_may_be_given(api: Api) -> None:
    name = await api.run()

    text = await assigned_id(api, name, timestamp=NOW_MS - 5)

    assert KEYRING.verify(text).assigned_at_ms == NOW_MS - 5


async def test_a_user_under_fixed_weights_gets_the_same_receipt_for_ever(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})

    first = await assigned_id(api, name, userId="user_1")
    api.clock.now_ms += 400 * DAY_MS
    api.publish(name)
    again = await assigned_id(api, name, userId="user_1")

    assert first == again
    units = {unit for batch in api.topics.impressions() for unit in batch.groups[0].units}
    assert units == {KEYRING.verify(first).unit}
    assert all(batch.groups[0].repeatable for batch in api.topics.impressions())
    assert len({batch.partition for batch in api.topics.impressions()}) == 1


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
async def test_the_window_of_a_late_user_begins_at_the_first_assignment(
    api: Api, kind: str
) -> None:
    name = await api.run({"type": kind, "unit": "user", "attributionWindow": 7 * 86_400})
    api.clock.now_ms += 8 * DAY_MS

    first = await assigned_id(api, name, userId="late")
    click = {"assignmentId": first, "metric": "click", "value": 1}
    counted = await api.http.post("/observations", json=click)
    api.clock.now_ms += 8 * DAY_MS
    again = (await assign(api, name, userId="late")).json()

    assert KEYRING.verify(first).assigned_at_ms == NOW_MS + 8 * DAY_MS
    assert counted.status_code == 202
    assert (again["id"], again["reason"]) == (first, "STICKY")
    rows = {
        (group.units[0], group.variants[0], group.assigned_at_ms[0])
        for batch in api.topics.impressions()
        for group in batch.groups
    }
    assert len(rows) == 1


async def test_the_windows_of_a_promoted_winner_are_remembered_apart(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab", "attributionWindow": 3600, "controlShare": 0.5})
    before = await assigned_id(api, name, userId="u")
    body = {"winnerVariantId": f"{name}_v1", "controlShare": 0.5}
    assert (await api.http.post(f"/experiments/{name}/conclude", json=body)).is_success
    api.clock.now_ms += 8 * DAY_MS

    first = (await assign(api, name, userId="u")).json()
    again = (await assign(api, name, userId="u")).json()

    assert first["id"] == again["id"] != before
    receipt = KEYRING.verify(first["id"])
    assert receipt.assigned_at_ms == NOW_MS + 8 * DAY_MS
    assert first["variantId"] == f"{name}_v{receipt.variant - 256}"


@pytest.mark.parametrize(
    "config",
    [
        {"type": "thompson_sampling", "unit": "user"},
        {"type": "bayesian_ab", "attributionWindow": 80_000},
        {"type": "bayesian_ab"},
    ],
)
async def test_twenty_requests_without_redis_are_one_unit(
    api: Api, config: dict[str, object]
) -> None:
    name = await api.run(config)
    api.receipts.error = RedisConnectionError("away")

    ids = set()
    for _ in range(20):
        api.clock.now_ms += 1_200_000
        ids.add(await assigned_id(api, name, userId="u"))

    assert len(ids) == 1
    receipt = KEYRING.verify(ids.pop())
    assert receipt.assigned_at_ms <= NOW_MS + 1_200_000
    assert receipt.assigned_at_ms >= NOW_MS


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
async def test_anonymous_and_then_logged_in_is_one_unit(api: Api, kind: str) -> None:
    name = await api.run({"type": kind, "unit": "user"})

    for number in range(20):
        user, anonymous = f"user-{number}", f"anonymous-{number}"
        first = await assigned_id(api, name, userId=anonymous)
        both = await assigned_id(api, name, userId=user, fallbackUnitId=anonymous)
        alone = await assigned_id(api, name, userId=user)
        out = await assigned_id(api, name, userId=anonymous)

        assert first == both == alone == out
    units = {unit for batch in api.topics.impressions() for unit in batch.groups[0].units}
    assert len(units) == 20


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
async def test_logged_in_elsewhere_before_is_one_unit(api: Api, kind: str) -> None:
    """The id of a person who comes with a new browser was there before that of the browser."""
    name = await api.run({"type": kind, "unit": "user"})

    for number in range(20):
        user, browser = f"user-{number}", f"anonymous-{number}"
        first = await assigned_id(api, name, userId=user)
        both = await assigned_id(api, name, userId=user, fallbackUnitId=browser)
        out = await assigned_id(api, name, userId=browser)
        third = await assigned_id(api, name, userId=user, fallbackUnitId=f"{browser}-2")

        assert first == both == out == third


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
async def test_two_requests_at_once_are_one_unit(api: Api, kind: str) -> None:
    name = await api.run({"type": kind, "unit": "user"})

    for number in range(20):
        user, browser = f"user-{number}", f"anonymous-{number}"
        contexts = [
            {"userId": browser},
            {"userId": user, "fallbackUnitId": browser},
            {"userId": user, "fallbackUnitId": browser},
        ]
        found = await asyncio.gather(*(assigned_id(api, name, **each) for each in contexts))

        assert len({*found, await assigned_id(api, name, userId=user)}) == 1


async def test_a_unit_of_before_the_first_fallback_has_its_receipt_of_the_log(api: Api) -> None:
    """A worker reads from the log which units another process has assigned by the hash alone."""
    name = await api.run({"type": "bayesian_ab"})
    before = {f"u{n}": await assigned_id(api, name, userId=f"u{n}") for n in range(8)}
    api.sticky.recent = RecentUnits()  # as those of another process

    asked = [
        (await assign(api, name, userId=user, fallbackUnitId=f"new-{user}")).json()
        for user in before
    ]
    assert {each["reason"] for each in asked} == {"ASSIGNED"}
    assert api.sticky.unavailable == 0
    number = KEYRING.verify(before["u0"]).experiment
    await api.receipts.add(
        {
            ReceiptPlace(name, 0, draws(number, user).unit): raw_of(receipt)
            for user, receipt in before.items()
        }
    )
    await api.receipts.note_rebuilt([name])
    await api.sticky.look()

    for user, receipt in before.items():
        assert await assigned_id(api, name, userId=user, fallbackUnitId=f"new-{user}") == receipt
        assert await assigned_id(api, name, userId=user) == receipt
    new = (await assign(api, name, userId="v", fallbackUnitId="new-v")).json()
    assert new["reason"] == "ASSIGNED"


async def test_who_was_in_by_one_id_is_in_by_the_other(api: Api) -> None:
    name = await api.run({"unit": "user", "trafficAllocation": 0.5})
    pairs = [(f"user-{number}", f"anonymous-{number}") for number in range(40)]
    first = {anonymous: await assign(api, name, userId=anonymous) for _, anonymous in pairs}

    for user, anonymous in pairs:
        alone = await assign(api, name, userId=f"{user}-elsewhere")
        both = await assign(api, name, userId=user, fallbackUnitId=anonymous)
        later = await assign(api, name, userId=user)

        assert alone.status_code == 200
        assert both.json()["id"] == first[anonymous].json()["id"]
        if both.json()["enrolled"]:
            assert later.json()["id"] == both.json()["id"]


async def test_a_fallback_that_is_junk_or_the_same_is_left_out(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})
    alone = await assigned_id(api, name, userId="u")

    for fallback in ("u", "null", ""):
        assert await assigned_id(api, name, userId="u", fallbackUnitId=fallback) == alone
    junk = (await assign(api, name, userId="null", fallbackUnitId="u")).json()
    assert junk["reason"] == "INVALID_UNIT"


async def test_a_user_under_a_bandit_keeps_the_variant_when_the_allocation_moves(api: Api) -> None:
    name = await api.run({"unit": "user"})
    first = (await assign(api, name, userId="user_1")).json()
    moved = (0, 65_536) if first["variantId"].endswith("_v0") else (65_536, 0)
    api.publish(name, allocation=Allocation(9, moved))

    again = (await assign(api, name, userId="user_1")).json()

    assert again == {**first, "reason": "STICKY"}
    assert (first["reason"], again["propensity"]) == ("ASSIGNED", 0.5)


async def test_without_redis_a_user_is_decided_by_the_hash_and_the_answer_says_so(api: Api) -> None:
    name = await api.run({"unit": "session"})
    api.receipts.error = RedisConnectionError("away")

    found = (await assign(api, name, sessionId="s")).json()

    assert (found["enrolled"], found["reason"]) == (True, "STICKY_UNAVAILABLE")
    assert len(api.topics.impressions()) == 1


async def test_a_receipt_whose_key_was_taken_out_is_replaced(api: Api) -> None:
    name = await api.run({"unit": "user"})
    await assign(api, name, userId="u")
    [place] = api.receipts.receipts
    old = Keyring({9: bytes(16)}).sign(KEYRING.verify(text_of(api.receipts.receipts[place])))
    api.receipts.receipts[place] = raw_of(old)

    found = (await assign(api, name, userId="u")).json()

    assert found["reason"] == "ASSIGNED"
    assert api.receipts.receipts[place] == raw_of(found["id"])


async def test_a_unit_outside_sees_the_control_and_nothing_is_logged(api: Api) -> None:
    name = await api.run({"trafficAllocation": 0.0})

    found = (await assign(api, name)).json()

    assert found == {
        "id": None,
        "experimentId": name,
        "variantId": f"{name}_v0",
        "variantName": "A",
        "config": {"adId": "ad_1"},
        "enrolled": False,
        "reason": "NOT_ENROLLED",
        "propensity": None,
    }
    assert api.topics.records == []


async def test_several_experiments_and_units_are_answered_in_rows(api: Api) -> None:
    first = await api.run()
    by_user = await api.run({"type": "bayesian_ab"})

    answer = await api.http.post(
        "/assign",
        json={
            "experimentIds": [first, by_user, "exp_unknown"],
            "units": [{"userId": "u"}, {"device": "mobile"}],
        },
    )

    assert answer.status_code == 200
    rows = answer.json()["assignments"]
    assert [len(row) for row in rows] == [3, 3]
    assert [each.get("experimentId") for each in rows[0]] == [first, by_user, None]
    assert rows[0][2]["error"]["code"] == "EXPERIMENT_NOT_FOUND"
    assert rows[1][1]["error"] == {
        "code": "MISSING_UNIT",
        "message": rows[1][1]["error"]["message"],
        "path": "units[1].userId",
    }
    n_logged = sum(len(group.units) for batch in api.topics.impressions() for group in batch.groups)
    assert n_logged == 3


async def test_an_unknown_experiment_is_404_and_one_that_does_not_run_409(api: Api) -> None:
    name = await api.create()
    unknown = await assign(api, "exp_0000000000000")
    draft = await assign(api, name)
    await api.http.post(f"/experiments/{name}/start")
    await api.http.post(f"/experiments/{name}/pause")
    paused = await assign(api, name)

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "EXPERIMENT_NOT_FOUND")
    for refused in (draft, paused):
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "EXPERIMENT_NOT_RUNNING"
    assert api.counters.errors == {"EXPERIMENT_NOT_FOUND": 1, "EXPERIMENT_NOT_RUNNING": 2}


@pytest.mark.parametrize(
    ("config", "body", "code", "path"),
    [
        ({"unit": "user"}, b'{"sessionId":"s"}', "MISSING_UNIT", "userId"),
        ({"unit": "session"}, b'{"userId":"u"}', "MISSING_UNIT", "sessionId"),
        ({"unit": "user"}, b"", "MISSING_UNIT", "userId"),
        ({}, b'{"userId":"%s"}' % (b"x" * 257), "OUT_OF_RANGE", "userId"),
        ({}, b'{"userId":7}', "WRONG_TYPE", "userId"),
        ({}, b'{"timestamp":-1}', "OUT_OF_RANGE", "timestamp"),
        ({}, b'{"timestamp":1e3}', "WRONG_TYPE", "timestamp"),
        ({}, b'{"timestamp":281474976710656}', "OUT_OF_RANGE", "timestamp"),
        ({}, b'{"timestamp":%d}' % (NOW_MS + 300_001), "OUT_OF_RANGE", "timestamp"),
        ({}, b'{"user":"u"}', "UNKNOWN_FIELD", "user"),
        ({}, b'{"features":[]}', "WRONG_TYPE", "features"),
        ({}, b'{"features":{"age":[1,NaN]}}', "NOT_FINITE", "features.age[1]"),
        ({}, b'{"features":{"age":1e999}}', "NOT_FINITE", "features.age"),
        ({}, b'{"features":' + b'{"a":' * 300 + b"1" + b"}" * 301, "TOO_DEEP", "features"),
        ({}, b'{"features":{"text":"' + b"x" * 20_000 + b'"}}', "OUT_OF_RANGE", "features"),
        ({}, b"[" * 20_000, "INVALID_JSON", ""),
        ({}, b'{"userId":"\xff"}', "INVALID_JSON", ""),
        ({}, b'{"userId":"\\ud800"}', "INVALID_JSON", ""),
        ({}, b"{", "INVALID_JSON", ""),
        ({}, b"7", "WRONG_TYPE", ""),
    ],
)
async def test_bad_input_is_422_with_a_code_and_a_path(
    api: Api, config: dict[str, object], body: bytes, code: str, path: str
) -> None:
    name = await api.run(config)

    answer = await api.http.post(f"/experiments/{name}/assign", content=body)

    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["path"]) == (code, path)
    assert error["message"]
    assert api.topics.records == []


@pytest.mark.parametrize(
    ("timestamp", "code", "hint"),
    [
        (0, "TIMESTAMP_BEFORE_START", "seconds?"),
        (NOW_MS // 1000, "TIMESTAMP_BEFORE_START", "seconds?"),
        (NOW_MS - 300_001, "TIMESTAMP_BEFORE_START", ""),
        (NOW_MS * 1000, "OUT_OF_RANGE", "microseconds?"),
        (NOW_MS * 1_000_000, "OUT_OF_RANGE", "nanoseconds?"),
        (NOW_MS + 300_001, "OUT_OF_RANGE", ""),
    ],
)
@pytest.mark.parametrize("unit", ["impression", "user"])
async def test_a_time_that_no_assignment_can_have_is_refused_with_a_hint(
    api: Api, unit: str, timestamp: int, code: str, hint: str
) -> None:
    name = await api.run({"unit": unit})

    single = await assign(api, name, userId="u", timestamp=timestamp)
    several = await api.http.post(
        "/assign",
        json={"experimentIds": [name], "units": [{"userId": "u", "timestamp": timestamp}]},
    )

    error = single.json()["error"]
    assert (single.status_code, error["code"], error["path"]) == (422, code, "timestamp")
    assert hint in error["message"]
    assert ("?" in error["message"]) == bool(hint)
    in_list = several.json()["assignments"][0][0]["error"]
    assert (in_list["code"], in_list["path"]) == (code, "units[0].timestamp")
    assert api.topics.records == []


async def test_a_time_within_the_skew_before_the_start_is_taken(api: Api) -> None:
    name = await api.run()

    assert (await assign(api, name, timestamp=NOW_MS - 300_000)).status_code == 200


@pytest.mark.parametrize(
    "junk",
    [
        "", " ", "null", "NULL", "undefined", "anonymous", "0", "none", "nil", "NaN", "true",
        "false", "[object Object]", "00000000-0000-0000-0000-000000000000", " Undefined\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("config", [{"type": "bayesian_ab"}, {"unit": "user"}])
async def test_an_id_that_stands_for_no_unit_gets_the_control_and_nothing_is_logged(
    api: Api, config: dict[str, object], junk: str
) -> None:
    name = await api.run(config)

    found = (await assign(api, name, userId=junk)).json()

    assert found == {
        "id": None,
        "experimentId": name,
        "variantId": f"{name}_v0",
        "variantName": "A",
        "config": {"adId": "ad_1"},
        "enrolled": False,
        "reason": "INVALID_UNIT",
        "propensity": None,
    }
    assert api.topics.records == []
    assert api.answered[Reason.INVALID_UNIT] == 1


async def test_ignored_units_can_be_changed_while_an_experiment_runs(api: Api) -> None:
    name = await api.run({"unit": "session", "ignoredUnits": ["bot-1"]})
    junk = (await assign(api, name, sessionId="null")).json()
    bot = (await assign(api, name, sessionId="BOT-1")).json()
    changed = await api.http.patch(f"/experiments/{name}", json={"ignoredUnits": []})
    after = (await assign(api, name, sessionId="bot-1")).json()

    assert changed.status_code == 200, changed.text
    assert changed.json()["config"]["ignoredUnits"] == []
    assert [found["reason"] for found in (junk, bot, after)] == [
        "ASSIGNED",
        "INVALID_UNIT",
        "ASSIGNED",
    ]


async def test_ids_of_people_mean_nothing_where_every_impression_is_a_unit(api: Api) -> None:
    name = await api.run()

    assert (await assign(api, name, userId="null")).json()["reason"] == "ASSIGNED"


async def test_a_full_spool_is_503_and_nothing_is_half_taken(tmp_path) -> None:
    async with memory_api(tmp_path, spool_max_bytes=600) as api:
        name = await api.run()
        answers = [await assign(api, name) for _ in range(12)]

    taken = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert taken
    assert refused
    assert refused[0].json()["error"]["code"] == "SPOOL_FULL"
    assert int(refused[0].headers["Retry-After"]) > 0
    assert len(api.topics.records) == len(taken)
    # A refused flush takes no sequence: a gap would be remembered forever.
    by_partition: dict[int, list[int]] = {}
    for batch in api.topics.impressions():
        by_partition.setdefault(batch.partition, []).append(batch.sequence)
    assert all(found == list(range(len(found))) for found in by_partition.values())


async def assign(api: Api, name: str, **context: object):
    return await api.http.post(f"/experiments/{name}/assign", json=context)


async def assigned_id(api: Api, name: str, **context: object) -> str:
    return str((await assign(api, name, **context)).json()["id"])


@pytest.mark.parametrize(
    ("listed", "junk", "good"),
    [
        (None, ["", "Null", '"null"', "{00000000-0000-0000-0000-000000000000}"], ["00000a", "10"]),
        (None, ["0", "000", "00:00:00:00:00:00", " (not set) ", "\t", "`undefined`"], ["0x0"]),
        (["$default", "QA "], ["qa", "'qa'", "null", "0000"], ["$default", "qa2"]),
        (["qa"], ["QA"], ["null", "0000", ""]),
        ([], [], ["null", "", "0"]),
    ],
)
async def test_a_list_replaces_the_default_or_adds_to_it(
    api: Api, listed: list[str] | None, junk: list[str], good: list[str]
) -> None:
    name = await api.run({"type": "bayesian_ab", "ignoredUnits": listed})

    reasons = [(await assign(api, name, userId=each)).json()["reason"] for each in (*junk, *good)]

    assert reasons == ["INVALID_UNIT"] * len(junk) + ["ASSIGNED"] * len(good)


async def test_requests_that_take_no_part_are_counted_by_reason(api: Api) -> None:
    name = await api.run({"unit": "user", "trafficAllocation": 0.0, "overrides": {"qa": "B"}})
    other = await api.run({"type": "bayesian_ab"})
    for user in ("null", "NULL ", "u", "qa", "00000000-0000-0000-0000-000000000000"):
        await assign(api, name, userId=user)
    await assign(api, other, userId="undefined")
    await assign(api, other, userId="u")

    counts = api.assignments.take_outside()

    assert [(each.experiment, each.reason, each.requests) for each in counts] == [
        (experiment_number(name), "INVALID_UNIT", 3),
        (experiment_number(name), "NOT_ENROLLED", 1),
        (experiment_number(name), "FORCED", 1),
        (experiment_number(other), "INVALID_UNIT", 1),
    ]
    assert api.assignments.take_outside() == []


async def test_counts_are_logged_also_when_the_process_ends(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})
    await assign(api, name, userId="null")
    logging = asyncio.create_task(log_outside(api.assignments, api.outbox))
    await asyncio.sleep(0)

    logging.cancel()
    with suppress(asyncio.CancelledError):
        await logging

    [batch] = api.topics.impressions()
    assert batch.outside == (OutsideRequests(experiment_number(name), "INVALID_UNIT", 1),)
    assert not batch.groups
