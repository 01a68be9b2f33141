"""Handlers that read experiments and their statistics."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api.http.dependencies import ServicesDep, json_response, rendered_response
from api.http.models.queries import ExperimentsQuery
from api.http.pages import experiments_page, position_of, stats_page
from api.http.payloads import experiment_response
from streams.experiments.lifecycle import Status
from streams.model.errors import InputError, quoted


async def list_experiments(
    services: ServicesDep, query: Annotated[ExperimentsQuery, Query()]
) -> Response:
    """Return a page of the experiments, newest first.

    `nextCursor` leads to the next page, and is null on the last one. Experiments that are
    created meanwhile do not move it.
    """
    after = None if query.cursor is None else position_of(query.cursor)
    wanted = () if query.status is None else _statuses(query.status)
    found = services.experiments.all()
    return rendered_response(await experiments_page(found, query.limit, after, wanted))


async def get_experiment(services: ServicesDep, experiment_id: str) -> Response:
    """Return an experiment: configuration, variants and status."""
    return json_response(
        experiment_response(services.experiments.snapshot(experiment_id).experiment)
    )


async def get_experiment_stats(services: ServicesDep, experiment_id: str) -> Response:
    """Return what is known of an experiment: counts, posteriors, allocation, recommendation."""
    return rendered_response(await stats_page(services.experiments.snapshot(experiment_id)))


def _statuses(text: str) -> frozenset[str]:
    """Return the statuses named, separated by commas.

    Raises:
        InputError: one of them is no status (`UNKNOWN_VALUE`).
    """
    named = frozenset(text.split(","))
    for each in sorted(named - set(Status)):
        known = ", ".join(Status)
        raise InputError("UNKNOWN_VALUE", f"{quoted(each)} is not one of {known}", "query.status")
    return named
