"""Observations by user or session: the receipt that counts the unit is found."""

from __future__ import annotations

from itertools import product
from typing import Any

import orjson
import pytest

from api.receipts.sticky import StickyReceipts
from api.services.units import UnitResolver
from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Allocation
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import DependencyError, EventError
from streams.model.events import UnitObservation
from streams.model.ids import experiment_id
from streams.wire.json_observations import decode_json_reports
from tests.api.memory import KEYRING, Api

USERS = {"unit": "user"}
FIXED = {**USERS, "type": "bayesian_ab"}


async def observed(api: Api, **fields: Any) -> Any:
    return await api.http.post("/observations", json={"metric": "click", "value": 1, **fields})


async def assigned(api: Api, name: str, **unit: Any) -> str:
    answer = await api.http.post(f"/experiments/{name}/assign", json=unit)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ids(api: Api) -> list[str]:
    return [each.assignment_id for each in api.topics.observations()]


@pytest.mark.parametrize(
    "config",
    [
        FIXED,
        {**USERS, "type": "thompson_sampling"},
        {**FIXED, "attributionWindow": 3_600},
        {**FIXED, "covariates": [{"name": "spend", "minimum": 0, "maximum": 10}]},
    ],
)
async def test_it_is_the_receipt_that_the_unit_got(api: Api, config: dict[str, Any]) -> None:
    """By hash under fixed weights, and else where first receipts are kept."""
    name = await api.run(config)
    receipt = await assigned(api, name, userId="u1")

    answer = await observed(api, experiment=name, userId="u1", eventId="e")
    later = await observed(api, experiment=name, userId="u1")

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert later.status_code == 202
    assert ids(api) == [receipt, receipt]
    [first, _] = api.topics.observations()
    assert (first.event_id, first.observed_at_ms) == ("e", api.clock.now_ms)


async def test_without_an_experiment_it_is_all_that_the_unit_is_in_and_that_have_the_metric(
    api: Api,
) -> None:
    names = [
        await api.run(FIXED | {"secondaryMetrics": ["revenue"]}),
        await api.run({**USERS, "type": "thompson_sampling", "secondaryMetrics": ["revenue"]}),
        await api.run(FIXED),
        await api.run({"type": "bayesian_ab", "unit": "session", "primaryMetric": "revenue"}),
        await api.run({**USERS, "type": "thompson_sampling", "primaryMetric": "revenue"}),
    ]
    receipts = {await assigned(api, name, userId="u1") for name in names[:3]}

    answer = await observed(api, userId="u1", metric="revenue", value=2.5)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert len(ids(api)) == 2
    assert set(ids(api)) < receipts  # not in the fourth, and never assigned in the last


async def test_experiments_are_found_by_metric_as_if_each_was_looked_at(api: Api) -> None:
    names = [
        await api.create({**FIXED, "secondaryMetrics": ["buy"]}),
        await api.run({**FIXED, "primaryMetric": "buy"}),
        await api.run({"unit": "session", "type": "bayesian_ab"}),
        await api.run(FIXED),
    ]
    steps = [(0, "start"), (3, "pause"), (1, "conclude"), (3, "resume"), (0, "conclude")]
    for number, verb in [*steps, (0, "archive")]:
        answer = await api.http.post(f"/experiments/{names[number]}/{verb}", json={})
        assert answer.status_code == 200, answer.text
        for unit, metric in product(UnitKind, ("click", "buy", "other")):
            listed = {each.experiment.id for each in api.experiments.observed_in(unit, metric)}
            assert listed == {
                each.experiment.id
                for each in api.experiments.all()
                if each.experiment.definition.config.unit is unit
                and metric in each.experiment.definition.config.counted_metrics
                and (each.experiment.is_assigning or each.experiment.status is Status.PAUSED)
            }


async def test_a_paused_experiment_is_observed_as_before(api: Api) -> None:
    name = await api.run(FIXED)
    receipt = await assigned(api, name, userId="u1")
    await api.http.post(f"/experiments/{name}/pause")

    assert (await observed(api, experiment=name, userId="u1")).status_code == 202
    # The worker keeps the version of a fixed allocation; its twin here does not.
    [found] = ids(api)
    one, other = (KEYRING.verify(each)._replace(allocation_version=0) for each in (found, receipt))
    assert one == other


async def test_units_of_a_list_are_found_each_and_the_others_are_named(api: Api) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    known = await assigned(api, name, userId="u1")
    click = {"experiment": name, "metric": "click", "value": 1}

    answer = await api.http.post(
        "/observations",
        json=[
            {**click, "userId": "u1"},
            {**click, "userId": "stranger"},
            {"assignmentId": known, "metric": "click", "value": 1},
        ],
    )

    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["code"]) == (1, "UNKNOWN_UNIT")
    assert rejected["path"] == "[1].userId"
    assert ids(api) == [known, known]


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"userId": "u2"}, "UNKNOWN_UNIT", "userId"),
        ({"userId": "anonymous"}, "UNKNOWN_UNIT", "userId"),
        ({"userId": "u1", "metric": "never"}, "UNKNOWN_UNIT", "userId"),
        ({"userId": ""}, "OUT_OF_RANGE", "userId"),
        ({"userId": "u" * (MAX_UNIT_ID + 1)}, "OUT_OF_RANGE", "userId"),
        ({"userId": 5}, "WRONG_TYPE", "userId"),
        ({"userId": "u1", "sessionId": "s"}, "AMBIGUOUS_UNIT", "sessionId"),
        ({"userId": "u1", "assignmentId": "a"}, "UNKNOWN_FIELD", "userId"),
        ({"userId": None, "assignmentId": None}, "WRONG_TYPE", "assignmentId"),
        ({"experiment": "E"}, "UNKNOWN_FIELD", "experiment"),
        ({"userId": "u1", "experiment": "nowhere"}, "EXPERIMENT_NOT_FOUND", "experiment"),
        ({"userId": "u1", "experiment": experiment_id(5)}, "EXPERIMENT_NOT_FOUND", "experiment"),
        ({"userId": "u1", "experiment": "x" * 101}, "OUT_OF_RANGE", "experiment"),
        ({"userId": "u1", "metric": "$void.ivt"}, "INVALID_NAME", "metric"),
        ({"userId": "u1", "value": "1"}, "WRONG_TYPE", "value"),
    ],
)
async def test_what_is_no_unit_of_an_experiment_is_refused(
    api: Api, fields: dict[str, Any], code: str, path: str
) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    await assigned(api, name, userId="u1")

    answer = await observed(api, **fields)

    error = answer.json()["error"]
    status = 404 if code == "EXPERIMENT_NOT_FOUND" else 422
    assert (answer.status_code, error["code"], error["path"]) == (status, code, path)
    assert code not in error["message"]
    assert not ids(api)


@pytest.mark.parametrize(
    "fields",
    [
        {"userId": "u1", "sessionId": None, "assignmentId": None},
        {"userId": "u1", "experiment": None},
        {"userId": None, "sessionId": None, "experiment": None, "assignmentId": "its own"},
    ],
)
async def test_members_that_are_null_are_not_given(api: Api, fields: dict[str, Any]) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    receipt = await assigned(api, name, userId="u1")
    if fields.get("assignmentId"):
        fields = {**fields, "assignmentId": receipt}

    answer = await observed(api, **fields)

    assert (answer.status_code, ids(api)) == (202, [receipt]), answer.text


async def test_of_a_unit_by_the_wrong_id_it_is_said(api: Api) -> None:
    sessions = await api.run({"type": "bayesian_ab", "unit": "session"})
    impressions = await api.run({"type": "bayesian_ab", "unit": "impression"})
    targeted = await api.run(FIXED | {"targeting": {"==": [{"var": "device"}, "mobile"]}})

    for name, code, path in (
        (sessions, "MISSING_UNIT", "sessionId"),
        (impressions, "MISSING_UNIT", "experiment"),
        (targeted, "UNIT_NOT_REMEMBERED", "experiment"),
    ):
        error = (await observed(api, experiment=name, userId="u1")).json()["error"]
        assert (error["code"], error["path"]) == (code, path)


async def test_a_unit_outside_of_the_share_is_unknown(api: Api) -> None:
    name = await api.run(FIXED | {"trafficAllocation": 0.5})
    found = [(await observed(api, experiment=name, userId=f"u{n}")).status_code for n in range(40)]

    assert set(found) == {202, 422}
    kept = [
        (await api.http.post(f"/experiments/{name}/assign", json={"userId": f"u{n}"})).json()
        for n in range(40)
    ]
    assert [each["reason"] == "ASSIGNED" for each in kept] == [status == 202 for status in found]


async def test_while_first_receipts_are_not_complete_nothing_is_refused_for_good(api: Api) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    api.receipts.complete = False

    answer = await observed(api, experiment=name, userId="u1")

    assert answer.status_code == 503
    assert not ids(api)


async def test_a_process_that_has_not_read_all_experiments_refuses_no_unit_for_good(
    api: Api,
) -> None:
    """Started again, it would else know of no experiment that the unit is in, or not of all."""
    name = await api.run(FIXED)
    known = await observed(api, userId="u1")
    api.experiments.is_complete = False

    some = await observed(api, userId="u1")
    api.experiments.drop(name)
    none = await observed(api, userId="u1")
    listed = await api.http.post(
        "/observations", json=[{"metric": "click", "value": 1, "userId": "u1"}]
    )

    answers = [each.status_code for each in (known, some, none, listed)]
    assert answers == [202, 503, 503, 503]
    assert len(ids(api)) == 1


async def promoted(api: Api, name: str) -> None:
    api.clock.now_ms += 1_000
    body = {"winnerVariantId": f"{name}_v1", "controlShare": 0.1}
    answer = await api.http.post(f"/experiments/{name}/conclude", json=body)
    assert answer.status_code == 200, answer.text
    experiment = api.experiments.snapshot(name).experiment
    assert experiment.promotion is not None
    weights = experiment.promotion.weights(2, 0)
    api.publish(name, allocation=Allocation(experiment.promotion.version, weights))
    api.clock.now_ms += 1_000


KEPT = [
    {**USERS, "type": "thompson_sampling"},
    {**FIXED, "attributionWindow": 3_600},
    {**FIXED, "conversionWindow": 3_600},
    {**FIXED, "covariates": [{"name": "spend", "minimum": 0, "maximum": 10}]},
    {**FIXED, "attributionWindow": 3_600, "exposure": "event"},
]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("config", KEPT)
async def test_after_a_promotion_a_unit_of_the_trial_is_observed_in_the_trial(
    api: Api, config: dict[str, Any], *, named: bool
) -> None:
    name = await api.run(config)
    receipt = await assigned(api, name, userId="u1")
    await promoted(api, name)

    answer = await observed(api, userId="u1", **({"experiment": name} if named else {}))

    assert (answer.status_code, ids(api)) == (202, [receipt]), answer.text


async def test_a_unit_of_both_phases_is_observed_in_that_of_the_event(api: Api) -> None:
    name = await api.run({**FIXED, "attributionWindow": 3_600})
    before = await assigned(api, name, userId="u1")
    at_ms = api.clock.now_ms
    await promoted(api, name)
    after = await assigned(api, name, userId="u1")
    late = await assigned(api, name, userId="u2")

    await observed(api, experiment=name, userId="u1", timestamp=at_ms)
    await observed(api, experiment=name, userId="u1")
    await observed(api, experiment=name, userId="u2", timestamp=at_ms)  # its clock is behind

    assert ids(api) == [before, after, late]
    assert [KEYRING.verify(each).variant // 256 for each in (before, after)] == [0, 1]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("exposure", ["assignment", "event"])
async def test_of_what_is_not_kept_only_the_trial_is_certain(
    api: Api, exposure: str, *, named: bool
) -> None:
    name = await api.run({**FIXED, "exposure": exposure})
    receipt = await assigned(api, name, userId="u1")
    at_ms = api.clock.now_ms
    await promoted(api, name)
    experiment = {"experiment": name} if named else {}

    answer = await observed(api, userId="u1", timestamp=at_ms, **experiment)
    since = await observed(api, userId="u1", **experiment)

    assert (answer.status_code, ids(api)) == (202, [receipt])
    error = since.json()["error"]
    assert (since.status_code, error["code"]) == (422, "UNIT_NOT_REMEMBERED")


async def test_a_unit_that_came_after_the_trial_is_observed_after_it(api: Api) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    await promoted(api, name)
    receipt = await assigned(api, name, userId="u1")

    assert (await observed(api, experiment=name, userId="u1")).status_code == 202
    assert ids(api) == [receipt]


async def test_units_from_before_the_first_eligible_set_are_not_remembered(api: Api) -> None:
    name = await api.run(FIXED | {"overrides": {"qa": "B"}})
    await assigned(api, name, userId="early")
    drawn = await assigned(api, name, userId="other", eligible=["B"])

    early = await observed(api, experiment=name, userId="early")
    await observed(api, experiment=name, userId="other")
    outside = await observed(api, experiment=name, userId="qa")

    assert (early.status_code, ids(api)) == (422, [drawn])
    assert early.json()["error"]["code"] == "UNIT_NOT_REMEMBERED"
    assert outside.json()["error"]["code"] == "UNKNOWN_UNIT"


async def test_a_process_decides_of_units_once_it_has_read_what_others_have_noted(
    api: Api,
) -> None:
    name = await api.run(FIXED)
    api.receipts.sets.add(name)
    resolver = UnitResolver(
        api.experiments, KEYRING, started := StickyReceipts(api.receipts), api.clock
    )
    [unit] = decode_json_reports(
        orjson.dumps({"experiment": name, "userId": "u", "metric": "click", "value": 1})
    )
    assert isinstance(unit, UnitObservation)

    with pytest.raises(DependencyError):
        await resolver.receipts(unit)
    await started.look()
    with pytest.raises(EventError) as refused:
        await resolver.receipts(unit)

    assert refused.value.code == "UNIT_NOT_REMEMBERED"


async def test_completeness_is_asked_for_once_for_the_unknown_units_of_a_call(api: Api) -> None:
    name = await api.run({**USERS, "type": "thompson_sampling"})
    await assigned(api, name, userId="known")
    click = {"experiment": name, "metric": "click", "value": 1}
    units = [f"u{n}" for n in range(100)]
    body = [{**click, "userId": unit} for unit in ("known", *units)]

    answer = await api.http.post("/observations", json=body)

    assert (answer.json()["accepted"], answer.json()["rejectedCount"]) == (1, len(units))
    assert api.receipts.checks == 1
