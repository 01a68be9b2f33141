"""Lists in pages, and what a query may say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http import pages
from api.http.handlers.flags import EVENTS_PATH
from api.http.pages import PagePosition, experiments_page, position_of, stats_page
from streams.experiments.statistics.variant_report import MetricReport, VariantReport
from streams.model.errors import InputError
from streams.stats.kinds import MetricKind
from tests.api.memory import Api


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_cursor_is_the_place_it_came_from(created_at_ms: int, number: int) -> None:
    position = PagePosition(created_at_ms, number)

    assert position_of(position.cursor()) == position


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        position = position_of(text)
    except InputError:
        return
    assert position.cursor() == text


async def test_pages_hold_everything_once_although_experiments_are_added(api: Api) -> None:
    made = []
    for index in range(12):
        api.clock.now_ms += index % 2  # some of the same millisecond
        made.append(await api.create())

    seen, target, n_pages = [], "/experiments?limit=5", 0
    while target:
        page = (await api.http.get(target)).json()
        assert len(page["experiments"]) <= 5
        seen += [each["id"] for each in page["experiments"]]
        cursor = page["nextCursor"]
        target = cursor and f"/experiments?limit=5&cursor={cursor}"
        n_pages += 1
        api.clock.now_ms += 1
        await api.create()  # newer than the place of the cursor

    assert n_pages == 3
    assert sorted(seen) == sorted(made)
    created = [api.projection.snapshot(name).experiment.created_at_ms for name in seen]
    assert all(earlier >= later for earlier, later in pairwise(created))


async def test_a_list_is_filtered_by_status(api: Api) -> None:
    draft, running = await api.create(), await api.run()

    async def listed(status: str) -> set[str]:
        page = (await api.http.get(f"/experiments?status={status}")).json()
        return {each["id"] for each in page["experiments"]}

    assert await listed("draft") == {draft}
    assert await listed("running,draft") == {draft, running}
    assert await listed("archived") == set()


async def test_a_page_is_bounded_in_bytes(api: Api) -> None:
    big = [
        {"name": "A", "isControl": True, "config": {"text": "x" * 30_000}},
        {"name": "B", "config": {"text": "y" * 30_000}},
    ]
    for _ in range(30):
        await api.create(variants=big)

    page = await api.http.get("/experiments")

    assert len(page.content) < 1.1 * 2**20
    assert 1 < len(page.json()["experiments"]) < 30
    assert page.json()["nextCursor"]


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ("page=2", "UNKNOWN_PARAMETER", "query.page"),
        ("limit=1&limit=2", "DUPLICATE_PARAMETER", "query.limit"),
        ("limit=0", "OUT_OF_RANGE", "query.limit"),
        ("limit=201", "OUT_OF_RANGE", "query.limit"),
        ("limit=many", "WRONG_TYPE", "query.limit"),
        ("limit=", "WRONG_TYPE", "query.limit"),
        ("cursor=AAAA", "INVALID_CURSOR", "query.cursor"),
        ("cursor=" + "A" * 5_000, "INVALID_CURSOR", "query.cursor"),
        ("status=alive", "UNKNOWN_VALUE", "query.status"),
        ("status=", "UNKNOWN_VALUE", "query.status"),
        ("limit", "INVALID_QUERY", "query"),
        ("limit=%ff", "INVALID_QUERY", "query"),
        ("&".join(f"a{number}=1" for number in range(100)), "INVALID_QUERY", "query"),
        ("x" * 3_000 + "=1", "UNKNOWN_PARAMETER", "query." + "x" * 64),
    ],
)
async def test_a_query_that_says_something_else_is_422(
    api: Api, query: str, code: str, path: str
) -> None:
    answer = await api.http.get(f"/experiments?{query}")

    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["path"]) == (code, path)


async def test_every_route_refuses_unknown_parameters(api: Api) -> None:
    name = await api.run()
    document = (await api.http.get("/openapi.json")).json()

    for path, methods in document["paths"].items():
        if path == EVENTS_PATH:  # a stream without end, for readers that may add parameters
            continue
        for method in methods:
            target = path.replace("{experiment_id}", name) + "?nonsense=1"
            answer = await api.http.request(method, target)
            if path.startswith("/ofrep/"):  # the errors of its contract
                assert answer.status_code in {400, 404}, answer.text
                assert answer.json()["errorCode"], answer.text
                continue
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (422, "UNKNOWN_PARAMETER"), target
            assert error["path"] == "query.nonsense"


async def test_400_experiments_are_listed_without_keeping_the_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PIECE_S", 0.0)  # a pause after every piece, however fast it was
    name = await api.create()
    one = api.projection.snapshot(name)
    many = [
        replace(one, experiment=replace(one.experiment, number=number)) for number in range(400)
    ]

    page, seconds = await pieces_s(lambda: experiments_page(many, 200))

    assert len(orjson.loads(page)["experiments"]) == 200
    assert len(seconds) == 200 + 1
    assert max(seconds) < sum(seconds) / 4


async def test_large_statistics_are_rendered_without_keeping_the_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PIECE_S", 0.0)  # a pause after every piece, however fast it was
    n_variants, n_metrics = 256, 64
    name = await api.run(variants=[
        {"name": f"V{number}", "isControl": number == 0} for number in range(n_variants)
    ])  # fmt: skip
    report = MetricReport(MetricKind.BINARY, 10, 4, 4_000_000, 0.4, 0.2, 0.6, None)
    metrics = {f"m{number}": report for number in range(n_metrics)}
    snapshot = replace(
        api.projection.snapshot(name),
        variants=(VariantReport(10, 4, 0.4, 0.2, 0.6, 0.75, 0.01, metrics),) * n_variants,
    )

    page, seconds = await pieces_s(lambda: stats_page(snapshot))

    assert len(orjson.loads(page)["variants"]) == n_variants
    assert len(seconds) == n_variants + 1
    assert max(seconds) < sum(seconds) / 4


async def pieces_s(
    rendering: Callable[[], Coroutine[Any, Any, bytes]],
) -> tuple[bytes, list[float]]:
    """Render several times, and return the result and the seconds between two pauses in the best.

    Seconds of this thread's processor time, since the machine is shared.
    """
    found: list[list[float]] = []
    for _ in range(3):  # the first builds the serializers, and the collector of garbage may run
        task = asyncio.ensure_future(rendering())
        times_s = [time.thread_time()]
        while not task.done():
            await asyncio.sleep(0)
            times_s.append(time.thread_time())
        found.append([later - sooner for sooner, later in pairwise(times_s)])
    return task.result(), min(found, key=max)
