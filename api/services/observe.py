"""Observations of a request: checked as the workers will check them, and taken together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson

from api.http.models.responses import Accepted, Rejected
from api.strict_json import decode_json, decode_loosely, path_of_not_finite
from streams.model.errors import EventError
from streams.model.events import Observation, ObservationBatch
from streams.model.receipts import Keyring, check_attribution
from streams.model.voids import check_voidable
from streams.wire.json_observations import decode_json_observations, decode_json_voids
from streams.wire.observation_fields import at, check_count

TURN = 200
"""Observations checked between two pauses, in which assignments are answered."""

MAX_REJECTED_LISTED = 100
"""Refused observations that an answer names; it counts all of them."""


_Decode = Callable[[bytes], ObservationBatch]


class ObservationLog(Protocol):
    """The log of observations."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take observations."""

    def written(self) -> Awaitable[None]:
        """Return a future that is done once all that was added is durable."""


def _accept(experiment: int, metric: str, value: int) -> None:
    del experiment, metric, value


class ObservationService:
    """Validation and logging of observations.

    Attributes:
        accepted: Observations taken.
        rejected: Observations of lists that were refused while others of their list were taken.
    """

    def __init__(
        self,
        keyring: Keyring,
        log: ObservationLog,
        now_ms: Callable[[], int],
        check_value: Callable[[int, str, int], None] = _accept,
    ) -> None:
        """Begin with none.

        Args:
            keyring: Verifies the receipts.
            log: Takes the observations.
            now_ms: Milliseconds since the epoch.
            check_value: Refuses a value, in micro-units, that an experiment's metric is declared
                not to have. Workers refuse it in any case; here the sender gets the error.
        """
        self.accepted = 0
        self.rejected = 0
        self._keyring = keyring
        self._log = log
        self._now_ms = now_ms
        self._check_value = check_value

    async def observe(self, body: bytes) -> bytes:
        """Take the observations in a JSON body, one object or a list, and return the JSON answer.

        The good ones of a list are taken together or not at all; the answer names the others.

        Raises:
            InputError: none of them can be used. Its path says which is the first.
            SpoolFullError: they cannot be kept; none was taken.
        """
        return await self._take(body, decode_json_observations, self._attributed)

    async def void(self, body: bytes) -> bytes:
        """Take the voids in a JSON body, as `observe` takes observations.

        Raises:
            InputError, SpoolFullError: as `observe`.
        """
        return await self._take(body, decode_json_voids, self._remembered)

    async def _take(
        self, body: bytes, decode: _Decode, check: Callable[[Observation, int], Observation]
    ) -> bytes:
        members = await _members(body, decode)
        now_ms = self._now_ms()
        is_list = body.lstrip()[:1] == b"["
        good: list[Observation] = []
        bad: list[tuple[int, EventError]] = []
        for index, member in enumerate(members):
            if index % TURN == TURN - 1:
                await asyncio.sleep(0)
            if isinstance(member, EventError):
                bad.append((index, member))
                continue
            try:
                good.append(check(member, now_ms))
            except EventError as error:
                bad.append((index, at(index, error) if is_list else error))
        if bad and not good:
            raise bad[0][1]
        if good:
            self._log.add_observations(good)
            await self._log.written()
        self.accepted += len(good)
        self.rejected += len(bad)
        return _answer(len(good), bad) if bad else b'{"accepted":%d}' % len(good)

    def _attributed(self, observation: Observation, now_ms: int) -> Observation:
        """Return an observation of a verified assignment, with its time."""
        observed_at_ms = observation.observed_at_ms
        if observed_at_ms is None:
            # Its record may reach Kafka much later, so the time is stated now.
            observed_at_ms = now_ms
            observation = replace(observation, observed_at_ms=now_ms)
        receipt = self._keyring.verify(observation.assignment_id)
        check_attribution(receipt, observed_at_ms)
        self._check_value(receipt.experiment, observation.metric, observation.value)
        return observation

    def _remembered(self, void: Observation, now_ms: int) -> Observation:
        """Return a void of a verified assignment that workers remember, with its time."""
        receipt = self._keyring.verify(void.assignment_id)
        check_voidable(receipt, now_ms)
        return replace(void, observed_at_ms=max(now_ms, receipt.assigned_at_ms))


async def _members(body: bytes, decode: _Decode) -> Sequence[Observation | EventError]:
    """Return the observations of a body, or the error of each that is invalid.

    Raises:
        InputError: it is no list of observations, and no observation.
    """
    try:
        return decode(body).observations
    except EventError as error:
        if error.code != "INVALID_JSON":
            raise
    # One member may hold a NaN or half a character, which is no JSON; the others are good.
    loose = decode_loosely(body)
    if not isinstance(loose, list):
        decode_json(body)
        raise EventError("INVALID_JSON", "the body is not JSON")
    check_count(len(loose))
    members = []
    for index, member in enumerate(loose):
        if index % TURN == TURN - 1:
            await asyncio.sleep(0)
        members.append(_strictly(index, member, decode))
    return members


def _strictly(index: int, member: Any, decode: _Decode) -> Observation | EventError:
    path = path_of_not_finite(member)
    if path is not None:
        return at(index, EventError("NOT_FINITE", "a number must be finite", path))
    try:
        text = orjson.dumps([member])
    except TypeError:  # half a character
        return at(index, EventError("INVALID_JSON", "holds a text that is not Unicode"))
    [found] = decode(text).observations
    return found if isinstance(found, Observation) else at(index, _inner(found))


def _inner(error: EventError) -> EventError:
    """Return an error of the member [0] as that of the member alone."""
    return EventError(error.code, error.message, error.path.removeprefix("[0]").lstrip("."))


def _answer(n_accepted: int, bad: Sequence[tuple[int, EventError]]) -> bytes:
    rejected = tuple(
        Rejected(index=index, code=error.code, path=error.path, message=error.message)
        for index, error in bad[:MAX_REJECTED_LISTED]
    )
    return Accepted(accepted=n_accepted, rejected=rejected, rejected_count=len(bad)).to_json()
