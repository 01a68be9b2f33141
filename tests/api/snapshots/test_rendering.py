"""Rendered assignments are what the response model says."""

from __future__ import annotations

from api.http.models.responses import Assignment
from streams.experiments.assignment_reason import Reason
from streams.model.quantities import PROPENSITY_ONE
from tests.api.memory import Api


async def test_every_rendered_assignment_is_the_json_of_the_model(api: Api) -> None:
    name = await api.run()
    rendering = api.experiments.running(name).rendering
    for rendered in (
        rendering.assigned("AQ", 1, PROPENSITY_ONE // 2),
        rendering.otherwise("AQ", 0, Reason.STICKY, PROPENSITY_ONE // 3),
        rendering.outside(Reason.NOT_ENROLLED),
        rendering.outside(Reason.INVALID_UNIT),
    ):
        assert Assignment.model_validate_json(rendered).to_json() == rendered
