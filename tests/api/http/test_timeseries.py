"""The time series of an experiment over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.experiments.snapshot import CellPlace, Snapshot
from streams.experiments.statistics.variant_report import AgainstControl, MetricReport
from streams.experiments.time_points import point_of
from streams.experiments.timeseries_response import Timeseries
from streams.stats.kinds import MetricKind
from streams.wire.time_points import encode_time_point
from tests.api.memory import Api

BEGIN_S = 1_700_000_000


def at(api: Api, name: str, second: int) -> Snapshot:
    """Return the snapshot of a second, in which the second variant is ahead by as many permille."""
    found = api.projection.snapshot(name)
    lead = second / 1_000
    against = AgainstControl(0.9, 0.0, lead, -1.0, 1.0, None, None, None, 0.5, -2.0, None)
    reports = [
        replace(
            report,
            assignments=second + index,
            metrics={
                "click": MetricReport(
                    MetricKind.BINARY, 1, 1, 1, 0.5, 0.25, 0.75, against if index else None
                )
            },
        )
        for index, report in enumerate(found.variants)
    ]
    return replace(
        found,
        as_of_ms=(BEGIN_S + second) * 1_000,
        version=100 + second,
        variants=tuple(reports),
        cells=(CellPlace("impressions", 0, second),),
    )


def put(api: Api, name: str, *seconds: int) -> None:
    """Keep the points of some seconds."""
    for second in seconds:
        value = encode_time_point(point_of(at(api, name, second), 1))
        api.projection.time_points[name][BEGIN_S + second] = value


async def test_a_series_has_what_was_known_at_each_point_and_now(api: Api) -> None:
    name = await api.run()
    put(api, name, 1, 3)
    newest = at(api, name, 8)
    api.projection.put(newest)
    api.experiments.put(newest)

    payload = (await api.http.get(f"/experiments/{name}/timeseries")).json()

    series = Timeseries.from_json(payload)
    assert [point.at // 1_000 - BEGIN_S for point in series.points] == [1, 3, 8]
    assert (series.metric, series.direction, series.width) == ("click", "increase", 1)
    first = payload["points"][0]
    assert first["variants"][1] == {
        "id": f"{name}_v1",
        "assignments": 2,
        "exposures": None,
        "observations": 0,
        "allocation": 0.5,
        "probabilityBest": 0.5,
        "mean": 0.5,
        "lower": 0.25,
        "upper": 0.75,
        "againstControl": {
            "probabilityBetter": 0.9,
            "difference": 0.001,
            "differenceLower": -1.0,
            "differenceUpper": 1.0,
            "sequenceLower": -2.0,
            "sequenceUpper": None,
        },
    }
    assert first["variants"][0]["againstControl"] is None
    assert (first["status"], first["recommendedAction"]) == ("running", "continue")


async def test_a_snapshot_without_new_events_replaces_the_point_of_its_time(api: Api) -> None:
    name = await api.run()
    put(api, name, 1, 3)
    changed = replace(at(api, name, 3), version=200)
    api.projection.put(changed)
    api.experiments.put(changed)

    payload = (await api.http.get(f"/experiments/{name}/timeseries")).json()

    found = [(point["at"] // 1_000 - BEGIN_S, point["version"]) for point in payload["points"]]
    assert found == [(1, 101), (3, 200)]


async def test_points_are_in_the_order_of_their_times_not_of_their_versions(api: Api) -> None:
    name = await api.run()
    put(api, name, 1, 3)
    late = replace(at(api, name, 2), version=200)
    api.projection.put(late)
    api.experiments.put(late)

    payload = (await api.http.get(f"/experiments/{name}/timeseries")).json()

    found = [(point["at"] // 1_000 - BEGIN_S, point["version"]) for point in payload["points"]]
    assert found == [(1, 101), (2, 200), (3, 103)]


async def test_a_span_is_from_its_begin_until_before_its_end(api: Api) -> None:
    name = await api.run()
    put(api, name, *range(10))

    async def seconds(query: str) -> list[int]:
        answer = await api.http.get(f"/experiments/{name}/timeseries?{query}")
        return [point["at"] // 1_000 - BEGIN_S for point in answer.json()["points"]]

    begin, end = (BEGIN_S + 2) * 1_000, (BEGIN_S + 5) * 1_000
    assert await seconds(f"from={begin}&to={end}") == [2, 3, 4]
    assert await seconds(f"from={begin + 1}&to={end + 1}") == [3, 4, 5]
    assert await seconds(f"to={begin}") == [0, 1]
    assert await seconds(f"from={begin}&points=3") == [2, 4, 8, 9]
    assert await seconds("from=0&to=1000000000000") == []


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ("from=x", "WRONG_TYPE", "query.from"),
        ("from=-1", "OUT_OF_RANGE", "query.from"),
        ("to=281474976710656", "OUT_OF_RANGE", "query.to"),
        ("from=0&to=0", "OUT_OF_RANGE", "query.to"),
        ("from=1764000000000&to=1764000000000", "OUT_OF_RANGE", "query.to"),
        ("points=1", "OUT_OF_RANGE", "query.points"),
        ("points=401", "OUT_OF_RANGE", "query.points"),
        ("points=9e9", "WRONG_TYPE", "query.points"),
        ("metric=none", "UNKNOWN_METRIC", "query.metric"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(
    api: Api, query: str, code: str, path: str
) -> None:
    name = await api.run()

    answer = await api.http.get(f"/experiments/{name}/timeseries?{query}")

    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


async def test_points_that_cannot_be_read_are_left_out(api: Api) -> None:
    name = await api.run()
    put(api, name, 1, 2)
    api.projection.time_points[name][BEGIN_S + 3] = b"noise"

    answer = await api.http.get(f"/experiments/{name}/timeseries")

    assert len(answer.json()["points"]) == 2


async def test_a_draft_has_none_and_without_redis_there_is_no_answer(api: Api) -> None:
    name = await api.create()
    empty = await api.http.get(f"/experiments/{name}/timeseries")
    missing = await api.http.get("/experiments/exp_0000000000000/timeseries")
    api.projection.is_away = True
    away = await api.http.get(f"/experiments/{name}/timeseries")

    assert empty.json()["points"] == []
    assert (missing.status_code, away.status_code) == (404, 503)
