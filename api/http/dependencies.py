"""What every route uses: the services behind it, and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Response

from api.auth import Gate
from api.monitoring.prometheus import RequestCounters
from api.monitoring.readiness import Readiness
from api.services.assign import Assigning
from api.services.control import Commands
from api.services.observe import Observing
from api.snapshots.follower import Experiments
from streams.wire.schema_levels import SchemaGate

_HEADERS = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes use."""

    experiments: Experiments
    commands: Commands
    assigning: Assigning
    observing: Observing
    gate: Gate
    schemas: SchemaGate
    counters: RequestCounters
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    receipt_key: Callable[[], int]


def json_answer(payload: Any, status: int = 200) -> Response:
    """Return the JSON of a payload."""
    return answer(orjson.dumps(payload), status)


def answer(body: bytes, status: int = 200) -> Response:
    """Return JSON that is rendered already."""
    return Response(body, status, _HEADERS, media_type="application/json")
