"""Takes observations: all of a request or none, and only what the workers will count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from api.bodies import decode_json
from streams.domain.errors import EventError, ReceiptError
from streams.domain.events import Observation
from streams.domain.receipts import Keyring, check_attribution
from streams.wire.json_observations import decode_json_observations
from streams.wire.observation_fields import at


class Log(Protocol):
    """Where observations are logged."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take observations."""

    def written(self) -> Awaitable[None]:
        """Return what is done when all that was added would survive."""


class Observing:
    """Takes observations.

    Attributes:
        accepted: Observations taken.
    """

    def __init__(self, keyring: Keyring, log: Log, now_ms: Callable[[], int]) -> None:
        self.accepted = 0
        self._keyring = keyring
        self._log = log
        self._now_ms = now_ms

    async def observe(self, body: bytes) -> bytes:
        """Take the observations in a JSON body, one object or a list, and return the JSON answer.

        Raises:
            InputError: one of them cannot be used; none was taken. Its path tells which.
            SpoolFullError: they cannot be kept; none was taken.
        """
        observations = self._checked(body)
        if observations:
            self._log.add_observations(observations)
            await self._log.written()
        self.accepted += len(observations)
        return b'{"accepted":%d}' % len(observations)

    def _checked(self, body: bytes) -> list[Observation]:
        try:
            batch = decode_json_observations(body)
        except EventError as error:
            if error.code == "INVALID_JSON":
                decode_json(body)  # knows the place of a NaN
            raise
        is_list = body.lstrip()[:1] == b"["
        now_ms = self._now_ms()
        checked = []
        for index, member in enumerate(batch.observations):
            if isinstance(member, EventError):
                raise member
            try:
                checked.append(self._attributed(member, now_ms))
            except ReceiptError as error:
                raise at(index, error) if is_list else error from error
        return checked

    def _attributed(self, observation: Observation, now_ms: int) -> Observation:
        """Return an observation of a verified assignment, with its time."""
        observed_at_ms = observation.observed_at_ms
        if observed_at_ms is None:
            # Its record may reach Kafka much later, so the time is stated now.
            observed_at_ms = now_ms
            observation = replace(observation, observed_at_ms=now_ms)
        check_attribution(self._keyring.verify(observation.assignment_id), observed_at_ms)
        return observation
