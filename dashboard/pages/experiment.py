"""The page of an experiment, and its live part."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import client_of, dashboard_of, page, render, session_of
from dashboard.feeds import FeedState
from dashboard.sessions import Session
from dashboard.views.experiment import experiment_view
from dashboard.views.facts import ExperimentFacts
from dashboard.views.history import HistoryRow, history
from dashboard.views.metrics import slices
from dashboard.views.series import SeriesView, series_view
from dashboard.views.variants import counted_units
from experiment_streams_client import AsyncExperimentClient

PING_S = 15

SERIES_POINTS = 200
"""Points of the charts over time: a screen cannot show more of them distinctly."""


async def show(request: Request) -> Response:
    """Return the page of an experiment."""
    client = await client_of(request)
    session = await session_of(request)
    name, dimension = request.path_params["id"], request.query_params.get("dimension")
    experiment = await client.get_experiment(name)
    names = [each["name"] for each in experiment.config.get("dimensions") or ()]
    stats = await client.get_experiment_stats(
        name, dimension=dimension if dimension in names else None
    )
    facts = ExperimentFacts(experiment, stats)
    happenings = history(await client.get_experiment_history(name), facts.experiment)
    broken_down = next((each for each in stats.dimensions if each.values), None)
    metric = request.query_params.get("metric", "")
    context = {
        "view": experiment_view(facts),
        "history": happenings,
        "series": await _series(client, facts, happenings, request.query_params),
        "series_of": stats.experiment_id,
        "history_of": stats.experiment_id,
        "slices": (
            None
            if broken_down is None
            else slices(facts, broken_down, metric if metric in stats.metrics else facts.metric)
        ),
        "may_manage": session.may("manage"),
    }
    return await page(request, "experiment.html", context)


async def show_series(request: Request) -> Response:
    """Return the charts over time, as a part of the page."""
    client = await client_of(request)
    name = request.path_params["id"]
    facts = ExperimentFacts(
        await client.get_experiment(name), await client.get_experiment_stats(name)
    )
    happenings = history(await client.get_experiment_history(name), facts.experiment)
    found = await _series(client, facts, happenings, request.query_params)
    context = {"series": found, "series_of": facts.stats.experiment_id}
    return await page(request, "series.html", context)


async def _series(
    client: AsyncExperimentClient,
    facts: ExperimentFacts,
    happenings: list[HistoryRow],
    query: Mapping[str, str],
) -> SeriesView | None:
    found = await client.get_experiment_timeseries(facts.stats.experiment_id, points=SERIES_POINTS)
    commands = [each for each in happenings if not each.is_refused and each.is_command]
    return series_view(facts, found, commands, query.get("variant", ""))


async def show_history(request: Request) -> Response:
    """Return what was done with an experiment, as a part of its page."""
    client, session = await client_of(request), await session_of(request)
    name = request.path_params["id"]
    context = {
        "history": history(
            await client.get_experiment_history(name), await client.get_experiment(name)
        ),
        "history_of": quote(name, safe=""),
        "may_manage": session.may("manage"),
    }
    return await page(request, "history.html", context)


async def live(request: Request) -> Response:
    """Return the live part of the page as server-sent events, whenever it has changed."""
    session = await session_of(request)
    events = _events(request, session, request.path_params["id"])
    return EventSourceResponse(
        events, ping=PING_S, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _events(request: Request, session: Session, name: str) -> AsyncIterator[dict[str, Any]]:
    dashboard = dashboard_of(request)
    moments = dashboard.feeds.follow(session.api_key, name)
    async with aclosing(moments) as following:
        async for moment in following:
            if dashboard.sessions.find(session.id) is None:  # signed out in another tab
                yield {"event": "connection", "data": "refused"}
                return
            for event in _events_of(request, session, moment):
                yield event


def _events_of(request: Request, session: Session, moment: FeedState) -> list[dict[str, Any]]:
    if moment.error is not None:
        return [{"event": "connection", "data": "refused"}]
    if not moment.is_live and not moment.has_ended:
        return [{"event": "connection", "data": "lost"}]
    if moment.experiment is None or moment.stats is None:
        return [{"event": "connection", "data": "ended"}]
    facts = ExperimentFacts(moment.experiment, moment.stats)
    context = {"view": experiment_view(facts), "may_manage": session.may("manage")}
    html = render(request, "experiment_live.html", context)
    state = "ended" if moment.has_ended else "live"
    return [
        {"id": str(moment.stats.version), "data": html},
        {"event": "connection", "data": state},
    ]


async def table(request: Request) -> Response:
    """Return the table of variants as CSV."""
    client = await client_of(request)
    name = request.path_params["id"]
    found = await client.get_experiment_stats(name)
    text = io.StringIO()
    writer = csv.writer(text)
    metric = found.primary_metric
    writer.writerow(
        (
            "variant", "id", "units", "mean", "lower", "upper", "probability_best", "allocation",
            "difference", "difference_lower", "difference_upper", "sequence_lower",
            "sequence_upper",
        )
    )  # fmt: skip
    for variant in found.variants:
        stats = variant.stats
        report = stats.metrics.get(metric)
        against = None if report is None else report.against_control
        ends = (
            (None,) * 5
            if against is None
            else (
                against.difference,
                against.difference_lower,
                against.difference_upper,
                against.sequence_lower,
                against.sequence_upper,
            )
        )
        writer.writerow(
            (
                _inert(variant.name), variant.id, counted_units(stats), stats.mean, stats.lower,
                stats.upper, stats.probability_best, stats.allocation, *ends,
            )
        )  # fmt: skip
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{found.experiment_id}.csv"'},
    )


def _inert(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


ROUTES = (
    Route("/experiments/{id}", show, methods=["GET"]),
    Route("/experiments/{id}/live", live, methods=["GET"]),
    Route("/experiments/{id}/series", show_series, methods=["GET"]),
    Route("/experiments/{id}/history", show_history, methods=["GET"]),
    Route("/experiments/{id}/variants.csv", table, methods=["GET"]),
)
