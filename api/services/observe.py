"""Observations of a request: checked as the workers will check them, and taken together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast

import orjson

from api.http.models.responses import Accepted, Rejected
from api.strict_json import decode_json, decode_loosely, path_of_not_finite
from streams.model.attribution import check_attribution
from streams.model.errors import EventError, quoted
from streams.model.events import Observation, UnitObservation
from streams.model.receipts import Keyring, Receipt
from streams.model.voids import check_voidable
from streams.wire.json_observations import (
    decode_json_exposures,
    decode_json_reports,
    decode_json_voids,
)
from streams.wire.observation_fields import MAX_OBSERVATIONS, at, check_count

TURN = 200
"""Observations checked between two pauses, in which assignments are answered."""

_EVENT_ID_BYTES = 16

MAX_REJECTED_LISTED = 100
"""Refused observations that an answer names; it counts all of them."""


class UnresolvedUnit(NamedTuple):
    """An observation of a unit that has no assignment.

    Attributes:
        error: Why; its path is below the member of the list.
    """

    error: EventError


_Member = Observation | UnitObservation | EventError
_Resolved = Observation | list[Observation] | UnresolvedUnit | EventError
_Decode = Callable[[bytes], Sequence[Observation | EventError] | Sequence[_Member]]


class ObservationLog(Protocol):
    """The log of observations."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take observations."""

    def written(self) -> Awaitable[None]:
        """Return a future that is done once all that was added is durable."""


def _accept(experiment: int, metric: str, value: int) -> None:
    del experiment, metric, value


async def _unknown(observed: UnitObservation) -> list[str]:
    raise EventError("UNKNOWN_UNIT", f"{quoted(observed.unit_id)} is not known here")


def _one_window(experiment: int, metric: str) -> int:
    del experiment, metric
    return 1


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
        receipts_of: Callable[[UnitObservation], Awaitable[list[str]]] = _unknown,
        windows: Callable[[int, str], int] = _one_window,
        has_holdouts: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin with none.

        Args:
            keyring: Verifies the receipts.
            log: Takes the observations.
            now_ms: Milliseconds since the epoch.
            check_value: Refuses a value, in micro-units, that an experiment's metric is declared
                not to have. Workers refuse it in any case; here the sender gets the error.
            receipts_of: Returns the receipts of a unit; raises EventError if no receipt exists.
            windows: Returns within how many attribution windows an experiment's metric may count.
            has_holdouts: Returns whether there are holdouts, for which what is observed by several
                receipts of a unit is one event.
        """
        self.accepted = 0
        self.rejected = 0
        self._keyring = keyring
        self._log = log
        self._now_ms = now_ms
        self._check_value = check_value
        self._receipts_of = receipts_of
        self._windows = windows
        self._has_holdouts = has_holdouts

    async def expose(self, body: bytes) -> bytes:
        """Take the exposures in a JSON body, as `observe` does observations."""
        return await self._take(
            body, lambda text: decode_json_exposures(text).observations, self._attributed
        )

    async def observe(self, body: bytes) -> bytes:
        """Take the observations in a JSON body, one object or a list, and return the JSON answer.

        The valid ones of a list are accepted atomically; the answer names the others.

        Raises:
            InputError: none of them can be used. Its path says which is the first.
            SpoolFullError: they cannot be kept; none was taken.
        """
        return await self._take(body, decode_json_reports, self._attributed)

    async def void(self, body: bytes) -> bytes:
        """Take the voids in a JSON body, as `observe` takes observations.

        Raises:
            InputError, SpoolFullError: as `observe`.
        """
        return await self._take(body, lambda text: decode_json_voids(text).observations, self._void)

    async def _take(
        self, body: bytes, decode: _Decode, check: Callable[[Observation, int], Observation]
    ) -> bytes:
        members = await self._found(await _members(body, decode))
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
            checked, error = _checked(member, check, now_ms)
            if checked:
                good += checked
            elif error is not None:
                bad.append((index, at(index, error) if is_list else error))
        if bad and not good:
            raise bad[0][1]
        if good:
            self._log.add_observations(good)
            await self._log.written()
        n_accepted = len(members) - len(bad)
        self.accepted += n_accepted
        self.rejected += len(bad)
        return _answer(n_accepted, bad) if bad else b'{"accepted":%d}' % n_accepted

    async def _found(self, members: Sequence[_Member]) -> Sequence[_Resolved]:
        """Return members with the observations of each assignment of the units they name."""
        places = [n for n, each in enumerate(members) if isinstance(each, UnitObservation)]
        if not places:
            return cast(Sequence[_Resolved], members)
        found: list[Any] = [*members]
        n_found = 0
        for start in range(0, len(places), TURN):
            some = places[start : start + TURN]
            answers = await asyncio.gather(*(self._observed(found[place]) for place in some))
            for place, answer in zip(some, answers, strict=True):
                n_found += len(answer) if isinstance(answer, list) else 0
                if n_found > MAX_OBSERVATIONS:
                    message = f"the units of one call have more than {MAX_OBSERVATIONS} assignments"
                    raise EventError("TOO_MANY_OBSERVATIONS", message)
                found[place] = answer
        return found

    async def _observed(self, observed: UnitObservation) -> list[Observation] | UnresolvedUnit:
        """Return an observation of every assignment of a unit, or why no assignment was found."""
        try:
            receipts = await self._receipts_of(observed)
        except EventError as error:
            return UnresolvedUnit(error)
        observation = observed.observation
        if len(receipts) > 1 and observation.event_id is None and self._has_holdouts():
            observation = replace(observation, event_id=secrets.token_hex(_EVENT_ID_BYTES))
        return [replace(observation, assignment_id=receipt) for receipt in receipts]

    def _attributed(self, observation: Observation, now_ms: int) -> Observation:
        """Return an observation of a verified assignment, with its time."""
        observed_at_ms = observation.observed_at_ms
        if observed_at_ms is None:
            # Its record may reach Kafka much later, so the time is stated now.
            observed_at_ms = now_ms
            observation = replace(observation, observed_at_ms=now_ms)
        receipt = self._keyring.verify(observation.assignment_id)
        check_attribution(self._within(receipt, observation.metric), observed_at_ms)
        self._check_value(receipt.experiment, observation.metric, observation.value)
        return observation

    def _void(self, void: Observation, now_ms: int) -> Observation:
        """Return a void of a verified assignment that workers remember, with its time."""
        receipt = self._keyring.verify(void.assignment_id)
        check_voidable(self._within(receipt, void.metric), now_ms)
        return replace(void, observed_at_ms=max(now_ms, receipt.assigned_at_ms))

    def _within(self, receipt: Receipt, metric: str) -> Receipt:
        """Return a receipt with the time within which an event of a metric may count."""
        windows = self._windows(receipt.experiment, metric)
        return receipt._replace(attribution_window_s=windows * receipt.attribution_window_s)


async def _members(body: bytes, decode: _Decode) -> Sequence[_Member]:
    """Return the observations of a body, or the error of each that is invalid.

    Raises:
        InputError: it is no list of observations, and no observation.
    """
    try:
        return decode(body)
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


def _strictly(index: int, member: Any, decode: _Decode) -> _Member:
    path = path_of_not_finite(member)
    if path is not None:
        return at(index, EventError("NOT_FINITE", "a number must be finite", path))
    try:
        text = orjson.dumps([member])
    except TypeError:  # half a character
        return at(index, EventError("INVALID_JSON", "holds a text that is not Unicode"))
    [found] = decode(text)
    return at(index, _inner(found)) if isinstance(found, EventError) else found


def _checked(
    member: _Resolved, check: Callable[[Observation, int], Observation], now_ms: int
) -> tuple[list[Observation], EventError | None]:
    """Return the valid observations of a member, and its last error.

    Of a unit in several experiments those count that can.
    """
    if isinstance(member, UnresolvedUnit):
        return [], member.error
    good: list[Observation] = []
    last: EventError | None = None
    for each in member if isinstance(member, list) else [cast(Observation, member)]:
        try:
            good.append(check(each, now_ms))
        except EventError as error:
            last = error
    return good, last


def _inner(error: EventError) -> EventError:
    """Return an error of the member [0] as that of the member alone."""
    return EventError(error.code, error.message, error.path.removeprefix("[0]").lstrip("."))


def _answer(n_accepted: int, bad: Sequence[tuple[int, EventError]]) -> bytes:
    rejected = tuple(
        Rejected(index=index, code=error.code, path=error.path, message=error.message)
        for index, error in bad[:MAX_REJECTED_LISTED]
    )
    return Accepted(accepted=n_accepted, rejected=rejected, rejected_count=len(bad)).to_json()
