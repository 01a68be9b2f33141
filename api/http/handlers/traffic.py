"""Routes that `api.http.fast_path` answers itself, declared for the documentation."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from api.auth import Scope
from api.client.results import Accepted, Assignment
from api.http.bodies import decode_object
from api.http.dependencies import Services, answer
from api.http.models.requests import AssignmentContext, AssignmentsRequest, ObservationRequest
from api.http.openapi import ERRORS, AssignmentsPage, json_body, keys_documented
from api.http.routing import Requires


def traffic(services: Services) -> APIRouter:
    """Return the routes that `Edge` answers itself, declared for the documentation."""
    router = APIRouter(tags=["traffic"], responses=ERRORS, dependencies=[keys_documented()])
    may_assign = [Depends(Requires(services.gate, Scope.ASSIGN))]

    @router.post(
        "/experiments/{experiment_id}/assign",
        response_model=Assignment,
        openapi_extra=json_body(AssignmentContext, is_required=False),
        dependencies=may_assign,
    )
    async def assign_variant(experiment_id: str, request: Request) -> Response:
        """Choose the variant for one request."""
        context = decode_object(await request.body())
        return answer(await services.assigning.assign(experiment_id, context))

    @router.post(
        "/assign",
        response_model=AssignmentsPage,
        openapi_extra=json_body(AssignmentsRequest),
        dependencies=may_assign,
    )
    async def assign_variants(request: Request) -> Response:
        """Choose the variants of several experiments for several units.

        The answer has a row for each unit, in it an assignment for each experiment, or
        `{"error": ...}` in its place.
        """
        body = decode_object(await request.body())
        return answer(await services.assigning.assign_all(body))

    @router.post(
        "/observations",
        status_code=202,
        response_model=Accepted,
        openapi_extra=json_body(ObservationRequest, is_list_too=True),
        dependencies=[Depends(Requires(services.gate, Scope.OBSERVE))],
    )
    async def record_observations(request: Request) -> Response:
        """Record what units did after their assignment: one observation or a list, all or none."""
        return answer(await services.observing.observe(await request.body()), 202)

    return router
