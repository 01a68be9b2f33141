"""Logging of how many requests did not take part, and why; of each of them nothing is logged."""

from __future__ import annotations

import asyncio
import logging

from api.outbox import Outbox
from api.services.assign import AssignmentService
from streams.model.errors import EngineError

INTERVAL_S = 1.0
"""Interval of logging: what a process loses that is killed."""

_log = logging.getLogger(__name__)


async def log_outside(service: AssignmentService, outbox: Outbox) -> None:
    """Log counts until cancelled, and once more then."""
    try:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await _log_once(service, outbox)
    finally:
        await _log_once(service, outbox)


async def _log_once(service: AssignmentService, outbox: Outbox) -> None:
    counts = service.take_outside()
    if not counts:
        return
    outbox.add_outside(counts)
    try:
        await outbox.written()
    except (EngineError, OSError) as error:
        _log.warning("how many requests took no part is not logged: %s", error)
