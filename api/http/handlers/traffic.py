"""Handlers of assignments and observations, which `FastPathApp` calls without FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable

from api.http.dependencies import Services
from api.strict_json import decode_object


def assign_variant(services: Services, experiment_id: str, body: bytes) -> Awaitable[bytes]:
    """Choose the variant for one request."""
    return services.assignments.assign(experiment_id, decode_object(body))


def assign_variants(services: Services, _: str, body: bytes) -> Awaitable[bytes]:
    """Choose the variants of several experiments for several units.

    The answer has a row for each unit, with an assignment for each experiment, or `{"error": ...}`
    in its place.
    """
    return services.assignments.assign_all(decode_object(body))


def record_exposures(services: Services, _: str, body: bytes) -> Awaitable[bytes]:
    """Record that assigned variants were shown: one exposure, or the valid ones of a list."""
    return services.observations.expose(body)


def record_observations(services: Services, _: str, body: bytes) -> Awaitable[bytes]:
    """Record metric values of assigned units: one observation, or the valid ones of a list."""
    return services.observations.observe(body)


def void_assignments(services: Services, _: str, body: bytes) -> Awaitable[bytes]:
    """Void units with all their observations: one assignment, or a list.

    For bots, invalid traffic and deletion requests. Later observations of them do not count either.
    Voiding an assignment again has no effect.
    """
    return services.observations.void(body)


def record_impressions(services: Services, _: str, body: bytes) -> Awaitable[bytes]:
    """Accept batches of impressions from in-process assigners.

    A batch that is sent again counts once. If one of several is refused, the others are accepted.
    """
    return services.impressions.take(body)
