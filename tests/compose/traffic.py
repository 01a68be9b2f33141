"""Traffic whose every count can be bounded, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx

CALLERS = 8
PAUSE_S = 0.05
RETRY_S = 0.2
TIMEOUT_S = 5.0


@dataclass
class Ledger:
    """Counts of what was sent to an experiment.

    Attributes:
        acknowledged: Assignments that were answered.
        unanswered: Those that were not: they may count or not.
        observed: Observations. Each was sent until it was acknowledged, and so counts once.
        resent: Attempts beyond the first of an observation.
    """

    acknowledged: int = 0
    unanswered: int = 0
    observed: int = 0
    resent: int = 0

    def __post_init__(self) -> None:
        self._users = itertools.count()


@asynccontextmanager
async def traffic(url: str, key: str, experiment: str, ledger: Ledger) -> AsyncIterator[None]:
    """Assign new users and observe a click of each, by several callers, while the block runs."""
    stop = asyncio.Event()
    async with (
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=TIMEOUT_S) as client,
        asyncio.TaskGroup() as callers,
    ):
        for _ in range(CALLERS):
            callers.create_task(_calls(client, experiment, ledger, stop))
        try:
            yield
        finally:
            stop.set()


async def _calls(
    client: httpx.AsyncClient, experiment: str, ledger: Ledger, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        user = f"user-{next(ledger._users)}"
        assignment = await _assignment(client, experiment, user)
        if assignment is None:
            ledger.unanswered += 1
            await asyncio.sleep(RETRY_S)
            continue
        ledger.acknowledged += 1
        ledger.resent += await _observe(client, assignment, user)
        ledger.observed += 1
        await asyncio.sleep(PAUSE_S)


async def _assignment(client: httpx.AsyncClient, experiment: str, user: str) -> str | None:
    try:
        answer = await client.post(f"/experiments/{experiment}/assign", json={"userId": user})
    except httpx.TransportError:
        return None
    return str(answer.json()["id"]) if answer.status_code == HTTPStatus.OK else None


async def _observe(client: httpx.AsyncClient, assignment: str, event: str) -> int:
    """Send an observation until it is acknowledged; return the attempts beyond the first."""
    observation = {"assignmentId": assignment, "metric": "click", "value": 1, "eventId": event}
    for attempt in itertools.count():
        try:
            answer = await client.post("/observations", json=observation)
        except httpx.TransportError:
            await asyncio.sleep(RETRY_S)
            continue
        if answer.is_success:
            # Of every tenth a copy, which must not count.
            if attempt == 0 and int(event.removeprefix("user-")) % 10 == 0:
                continue
            return attempt
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, answer.text
        await asyncio.sleep(RETRY_S)
    raise AssertionError
