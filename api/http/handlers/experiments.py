"""Routes that read what is known of experiments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.auth import Scope
from api.client.results import Experiment, Stats
from api.http.dependencies import Services, answer, json_answer
from api.http.openapi import ERRORS, ExperimentsPage, keys_documented
from api.http.pages import (
    CURSOR_PATTERN,
    DEFAULT_LIMIT,
    MAX_LIMIT,
    experiments_page,
    place_of,
    stats_page,
)
from api.http.payloads import experiment_payload
from api.http.routing import Requires
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.model.errors import InputError, quoted

_STATUS = "|".join(Status)

Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="Experiments of a page; it may have fewer.")
]
Cursor = Annotated[
    str | None,
    Query(
        description="`nextCursor` of the page before.",
        json_schema_extra={"pattern": CURSOR_PATTERN},  # refused by us, with a code of its own
    ),
]
Statuses = Annotated[
    str | None,
    Query(
        description="Only experiments with this status; several are separated by commas.",
        json_schema_extra={"pattern": f"^({_STATUS})(,({_STATUS}))*$"},
    ),
]


def reading(services: Services) -> APIRouter:
    """Return the routes that read."""
    router = APIRouter(
        tags=["experiments"],
        dependencies=[Depends(Requires(services.gate, Scope.READ)), keys_documented()],
        responses=ERRORS,
    )

    @router.get("/experiments", response_model=ExperimentsPage)
    async def list_experiments(
        limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, status: Statuses = None
    ) -> Response:
        """Return a page of the experiments, newest first.

        `nextCursor` leads to the next page, and is null on the last one. Experiments that are
        created meanwhile do not move it.
        """
        after = None if cursor is None else place_of(cursor)
        wanted = () if status is None else _statuses(status)
        found = services.experiments.all()
        return answer(await experiments_page(found, limit, after, wanted))

    @router.get("/experiments/{experiment_id}", response_model=Experiment)
    async def get_experiment(experiment_id: str) -> Response:
        """Return an experiment: configuration, variants and status."""
        return json_answer(experiment_payload(snapshot(experiment_id).experiment))

    @router.get("/experiments/{experiment_id}/stats", response_model=Stats)
    async def get_experiment_stats(experiment_id: str) -> Response:
        """Return what is known of an experiment: counts, posteriors, allocation, recommendation."""
        return answer(await stats_page(snapshot(experiment_id)))

    def snapshot(experiment_id: str) -> Snapshot:
        return services.experiments.snapshot(experiment_id)

    return router


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
