"""Handlers that read experiments and their statistics."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.http.dependencies import (
    Services,
    ServicesDep,
    event_stream,
    json_response,
    rendered_response,
)
from api.http.filters import matching
from api.http.models.queries import ExperimentsQuery, SnapshotsQuery, StatsQuery, TimeseriesQuery
from api.http.pages import experiments_page, position_of, stats_page
from api.http.payloads import experiment_response
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.errors import EngineError, InputError, quoted
from streams.model.published import json_bytes


async def list_experiments(
    services: ServicesDep, query: Annotated[ExperimentsQuery, Query()]
) -> Response:
    """Return a page of the experiments, newest first, or those that need a decision first.

    Each has a `summary`: recommended action, lead, units, health. `nextCursor` leads to the next
    page, and is null on the last one. Experiments created in the meantime do not shift it.
    """
    is_by_urgency = query.sort == "attention"
    after = None
    if query.cursor is not None:
        after = position_of(query.cursor, is_by_urgency=is_by_urgency)
    found = matching(services.experiments.all(), query)
    page = await experiments_page(found, query.limit, after, is_by_urgency=is_by_urgency)
    return rendered_response(page)


async def get_experiment(services: ServicesDep, experiment_id: str) -> Response:
    """Return an experiment: configuration, variants and status."""
    return json_response(
        experiment_response(services.experiments.snapshot(experiment_id).experiment)
    )


async def get_experiment_stats(
    services: ServicesDep, experiment_id: str, query: Annotated[StatsQuery, Query()]
) -> Response:
    """Return the statistics of an experiment: counts, posteriors, allocation, recommendation.

    With `at=conclusion`, the statistics as of the conclusion. With `dimension=NAME`, also
    exploratory statistics by the values of that dimension.
    """
    snapshot = services.experiments.snapshot(experiment_id)
    if query.at is not None:
        snapshot = await concluded_snapshot(services, snapshot.experiment)
    if query.dimension is not None:
        _check_dimension(snapshot.experiment, query.dimension)
    return rendered_response(await stats_page(snapshot, query.dimension))


async def stream_experiment_stats(
    services: ServicesDep, experiment_id: str, request: Request
) -> Response:
    """Send the statistics of an experiment, and again whenever they have changed.

    Server-sent events: each `stats` event has the answer of `GET
    /experiments/{experiment_id}/stats`; they are at least half a second apart. With the header
    `Last-Event-ID` the first one is sent only after a change. `end` is the last event, sent when an
    archived experiment is removed.
    """
    seen = request.headers.get("last-event-id")
    return event_stream(services.experiment_streams.open(experiment_id, seen))


async def get_experiment_timeseries(
    services: ServicesDep, experiment_id: str, query: Annotated[TimeseriesQuery, Query()]
) -> Response:
    """Return the statistics of an experiment over time, for one metric.

    At most `points` points: the first of each span of equal length in event time, and the newest
    one.
    """
    snapshot = services.experiments.snapshot(experiment_id)
    series = await services.timeseries.read(
        snapshot, query.metric, query.begin_ms, query.end_ms, query.points
    )
    return rendered_response(json_bytes(series, ()))


async def concluded_snapshot(services: Services, experiment: Experiment) -> Snapshot:
    """Return the snapshot of an experiment as of its conclusion.

    Raises:
        EngineError: it is not concluded (`NOT_CONCLUDED`), or cannot be evaluated yet
            (`REPORT_NOT_READY`).
        DependencyError: Redis does not answer.
    """
    if experiment.concluded_at_ms is None:
        message = f"experiment {experiment.id} is {experiment.status}, and was not concluded"
        raise EngineError("NOT_CONCLUDED", message, "query.at")
    found = await services.conclusion(experiment.id)
    if found is None:
        message = f"the statistics of {experiment.id} at its conclusion are not there yet"
        raise EngineError("REPORT_NOT_READY", message, "query.at")
    return found


def _check_dimension(experiment: Experiment, name: str) -> None:
    """Refuse a dimension that an experiment does not have.

    Raises:
        InputError: it does not (`UNKNOWN_DIMENSION`).
    """
    known = [dimension.name for dimension in experiment.definition.config.dimensions]
    if name not in known:
        there = f"it has {', '.join(known)}" if known else "it has none"
        message = f"{quoted(name)} is no dimension of {experiment.id}: {there}"
        raise InputError("UNKNOWN_DIMENSION", message, "query.dimension")


async def get_snapshots(
    services: ServicesDep, query: Annotated[SnapshotsQuery, Query()]
) -> Response:
    """Return the data for in-process assigners: all experiments that assign or serve a variant.

    With `after`, those that have changed since; with `wait`, as soon as one has.
    """
    return rendered_response(await services.feed.read(query.after, query.wait))
