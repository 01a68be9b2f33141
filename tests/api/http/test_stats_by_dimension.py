"""Statistics by the values of a dimension, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.experiments.statistics.dimension_report import (
    DimensionReport,
    SliceContrast,
    SliceMetric,
    SliceRatio,
    SliceVariant,
    ValueReport,
)
from streams.wire.snapshots import encode_snapshot
from tests.api.memory import KEYRING, Api

DIMENSIONS = [
    {"name": "device", "values": ["mobile"]},
    {"name": "features.plan", "values": ["free", "paid"]},
]
AGAINST = SliceContrast(0.125, 0.0625, None, 0.5, 0.25, None, 0.001, is_different=True)
CONTROL = SliceVariant(50, {"click": SliceMetric(12, 0.25)})
OTHER = SliceVariant(50, {"click": SliceMetric(19, 0.375, AGAINST)})
NO_UNITS = SliceVariant(0, {"click": SliceMetric(0, None)})
VALUES = (
    ValueReport("mobile", 100, (CONTROL, OTHER), SliceRatio(0.5, False, (1.0, 1.0))),
    ValueReport(None, 0, (NO_UNITS, NO_UNITS), SliceRatio(1.0, False, (None, None))),
)
REPORTS = (
    DimensionReport("device", 100, 0, (), 0.05, 5, VALUES),
    DimensionReport("features.plan", 100, 60, (None,), 0.05, 5, VALUES),
)


async def test_the_values_of_a_dimension_are_there_where_it_is_asked_for(api: Api) -> None:
    name = await api.run({"unit": "user", "dimensions": DIMENSIONS})
    api.publish(name, dimensions=REPORTS)

    plain = (await api.http.get(f"/experiments/{name}/stats")).json()
    asked = (await api.http.get(f"/experiments/{name}/stats?dimension=device")).json()

    assert [each["values"] for each in plain["dimensions"]] == [[], []]
    device, plan = asked["dimensions"]
    assert (device["name"], device["isExploratory"], device["unknownShare"]) == ("device", True, 0)
    assert plan["values"] == []
    assert [each["code"] for each in plan["findings"]] == [
        "SLICE_SAMPLE_RATIO_MISMATCH",
        "UNKNOWN_VALUES",
    ]
    mobile, other = device["values"]
    assert (mobile["value"], other["value"], mobile["units"]) == ("mobile", None, 100)
    assert mobile["variants"][f"{name}_v0"]["metrics"]["click"]["againstControl"] is None
    assert mobile["variants"][f"{name}_v1"]["metrics"]["click"]["againstControl"] == {
        "difference": 0.125,
        "lower": 0.0625,
        "upper": None,
        "relative": 0.5,
        "relativeLower": 0.25,
        "relativeUpper": None,
        "pValue": 0.001,
        "isDifferent": True,
    }
    rest = {key: value for key, value in asked.items() if key != "dimensions"}
    assert rest == {key: value for key, value in plain.items() if key != "dimensions"}


async def test_a_dimension_is_kept_with_the_report_of_the_conclusion(api: Api) -> None:
    name = await api.run({"unit": "user", "dimensions": DIMENSIONS})
    await api.http.post(f"/experiments/{name}/conclude")
    report = replace(api.projection.snapshot(name), dimensions=REPORTS)
    api.projection.conclusions[name] = encode_snapshot(report)

    answer = await api.http.get(f"/experiments/{name}/stats?at=conclusion&dimension=device")

    assert answer.status_code == 200
    assert [value["value"] for value in answer.json()["dimensions"][0]["values"]] == [
        "mobile",
        None,
    ]


@pytest.mark.parametrize("dimension", ["browser", "", "Device", "features.plan.x", "d\u00e9"])
async def test_a_dimension_that_an_experiment_does_not_have_is_refused(
    api: Api, dimension: str
) -> None:
    name = await api.run({"unit": "user", "dimensions": DIMENSIONS})
    without = await api.run({"name": "other"})

    for each in (name, without):
        answer = await api.http.get(f"/experiments/{each}/stats", params={"dimension": dimension})
        error = answer.json()["error"]
        assert answer.status_code == 422
        assert (error["code"], error["path"]) == ("UNKNOWN_DIMENSION", "query.dimension")


async def test_a_users_value_is_that_of_the_first_assignment(api: Api) -> None:
    name = await api.run({"unit": "user", "type": "bayesian_ab", "dimensions": DIMENSIONS})
    path = f"/experiments/{name}/assign"

    first = (await api.http.post(path, json={"userId": "u", "device": "mobile"})).json()
    again = (await api.http.post(path, json={"userId": "u", "device": "tv"})).json()
    stranger = (await api.http.post(path, json={"userId": "v", "device": "Mobile"})).json()

    assert first["id"] == again["id"]
    assert (first["reason"], again["reason"]) == ("ASSIGNED", "STICKY")
    assert KEYRING.verify(first["id"]).dimensions == b"\1\0"
    assert KEYRING.verify(stranger["id"]).dimensions == b"\0\0"
