"""Routes that read what is known of experiments."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from api.auth import Scope
from api.client.results import Experiment, Stats
from api.documentation import ERRORS, ExperimentsPage, keys_documented
from api.payloads import experiment_payload, stats_payload
from api.routing import Requires
from api.services import Services, json_answer
from streams.experiments.snapshot import Snapshot


def reading(services: Services) -> APIRouter:
    """Return the routes that read."""
    router = APIRouter(
        tags=["experiments"],
        dependencies=[Depends(Requires(services.gate, Scope.READ)), keys_documented()],
        responses=ERRORS,
    )

    @router.get("/experiments", response_model=ExperimentsPage)
    async def list_experiments() -> Response:
        """Return all experiments, newest first."""
        found = [experiment_payload(each.experiment) for each in services.experiments.all()]
        return json_answer({"experiments": found})

    @router.get("/experiments/{experiment_id}", response_model=Experiment)
    async def get_experiment(experiment_id: str) -> Response:
        """Return an experiment: configuration, variants and status."""
        return json_answer(experiment_payload(snapshot(experiment_id).experiment))

    @router.get("/experiments/{experiment_id}/stats", response_model=Stats)
    async def get_experiment_stats(experiment_id: str) -> Response:
        """Return what is known of an experiment: counts, posteriors, allocation, recommendation."""
        return json_answer(stats_payload(snapshot(experiment_id)))

    def snapshot(experiment_id: str) -> Snapshot:
        return services.experiments.snapshot(experiment_id)

    return router
