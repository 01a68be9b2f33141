"""Calls of the API that are repeated until they are answered, with what must then be counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httpx

from streams.model.receipts import Receipt
from tests.integration.engine_ledger import Ledger

ANSWER_S = 240.0  # a worker that is started again may have to load its code first
PAUSE_S = 0.1


class ApiCalls:
    """Calls of the API that runs now.

    Args:
        ledger: Notes what must be counted.
        http: Returns a client of the API that runs now.
    """

    def __init__(self, ledger: Ledger, http: Callable[[], httpx.AsyncClient]) -> None:
        self.ledger = ledger
        self._http = http

    @property
    def http(self) -> httpx.AsyncClient:
        """Return a client of the API that runs now."""
        return self._http()

    async def answered(
        self, path: str, body: object = None, method: str = "POST", *, key: str = "", code: str = ""
    ) -> Any:
        """Send a request until it is answered with success: repetition is harmless.

        Args:
            path: Where to.
            body: Its JSON.
            method: HTTP method.
            key: Idempotency key of a command that would be refused the second time.
            code: Code of an error that is an answer as well; it is returned.
        """
        deadline = time.monotonic() + ANSWER_S
        headers = {"Idempotency-Key": key} if key else {}
        last = "the API was not reached"
        while True:
            with suppress(httpx.TransportError):
                answer = await self.http.request(method, path, json=body, headers=headers)
                last, found = answer.text, answer.json()
                if answer.is_success:
                    assert not found.get("rejected"), found
                    return found
                if code and found["error"]["code"] == code:
                    return code
                # A new process has no experiment before it has read Redis.
                assert answer.status_code in {
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    HTTPStatus.NOT_FOUND,
                }, last
            assert time.monotonic() < deadline, f"{path}: {last}"
            await asyncio.sleep(PAUSE_S)

    def note(self, answer: dict[str, Any]) -> Receipt:
        """Note an assignment, and return its receipt."""
        opened = self.ledger.opened(answer["id"])
        self.ledger.assignments[opened.experiment, opened.variant] += 1
        return opened

    async def observe(self, receipt: str, event: str, metric: str = "click") -> None:
        """Observe a value of 1 by a receipt."""
        value = {"assignmentId": receipt, "metric": metric, "value": 1, "eventId": event}
        await self.answered("/observations", [value])
