"""Progress of a webhook: its positions in `decisions`, waiting events, and results of deliveries.

Pure: times are arguments. An event waits from when its record was read until it is delivered or
given up; positions and waiting events are written together, so a process that continues from them
loses none. Events delivered after the last write are delivered again, with the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from streams.model.validation import InputModel, JsonList, parse

MAX_WAITING = 256
"""Maximum waiting events of a webhook. Reading pauses while it is reached."""

GONE = "GONE"
"""Code of an answer 410: the receiver permanently wants no more events."""

NEVER_ANSWERED = "NO_SUCCESS"
"""Code of a webhook disabled because an event was given up without any success since."""

Place = tuple[int, int]
"""Partition and offset in `decisions`."""


class TestResult(InputModel):
    """Result of a test delivery.

    Attributes:
        id: Id of the test.
        at_ms: When it was sent.
        status: HTTP status of the answer; None without one.
        error: Code of the failure; None if it was delivered.
    """

    __test__ = False

    id: str
    at_ms: int
    status: int | None = None
    error: str | None = None


class State(InputModel):
    """State that `GET /webhooks` shows.

    Attributes:
        activation: Activation of the definition to which it belongs.
        disabled_at_ms, disabled_because: When and why it was disabled; None while it is not.
        failing_since_ms: Time of the first failure since the last success; None without a failure.
        attempt_at_ms, attempt_status, attempt_error: Time, HTTP status and code of the failure of
            the last attempt.
        success_at_ms: Time of the last success.
        delivered: Number of delivered events.
        failed: Number of failed attempts.
        given_up: Number of events that were given up.
        test: Result of the last test.
    """

    activation: int = 0
    disabled_at_ms: int | None = None
    disabled_because: str | None = None
    failing_since_ms: int | None = None
    attempt_at_ms: int | None = None
    attempt_status: int | None = None
    attempt_error: str | None = None
    success_at_ms: int | None = None
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    test: TestResult | None = None


_Number = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class _Stored(InputModel):
    positions: dict[_Number, int] = Field(default_factory=dict)
    waiting: Annotated[
        tuple[Annotated[tuple[int, int, int, int, int], Field(strict=False)], ...],
        JsonList(),
    ] = ()
    state: State = State()


@dataclass(slots=True)
class PendingEvent:
    """An event that is not delivered yet.

    Attributes:
        attempts: Number of attempts.
        due_ms: Time of the next attempt.
        first_ms: Time of the first attempt since `start_over`; 0 before.
        is_under_way: Whether it is being sent now.
    """

    attempts: int = 0
    due_ms: int = 0
    first_ms: int = 0
    is_under_way: bool = False


@dataclass(slots=True)
class DispatchProgress:
    """Progress of a webhook.

    Attributes:
        positions: Offset of the next record to read, by partition.
        waiting: Events that wait, by place.
        state: State that is shown.
    """

    positions: dict[int, int] = field(default_factory=dict)
    waiting: dict[Place, PendingEvent] = field(default_factory=dict)
    state: State = field(default_factory=State)

    @property
    def room(self) -> int:
        """Number of further events that may wait."""
        return max(0, MAX_WAITING - len(self.waiting))

    def activate(self, activation: int, positions: Mapping[int, int] | None) -> None:
        """Begin an activation of the definition.

        Args:
            activation: Number of the activation.
            positions: Where to start, without waiting events; None to continue where it stopped.
        """
        if positions is not None:
            self.positions = dict(positions)
            self.waiting = {}
        self._change(activation=activation, disabled_at_ms=None, disabled_because=None)
        self.start_over()

    def start_over(self) -> None:
        """Begin anew, without earlier failures: the receiver is another one, or mended.

        All waiting events are sent at once; those under way once they have ended.
        """
        for event in self.waiting.values():
            event.attempts, event.due_ms, event.first_ms = 0, 0, 0
        self._change(failing_since_ms=None)

    def enqueue(self, place: Place, now_ms: int) -> None:
        """Add a waiting event, to be sent at once."""
        self.waiting[place] = PendingEvent(due_ms=now_ms)

    def due(self, now_ms: int) -> list[Place]:
        """Return due events, in the order in which they became due."""
        found = [
            (each.due_ms, place)
            for place, each in self.waiting.items()
            if not each.is_under_way and each.due_ms <= now_ms
        ]
        return [place for _, place in sorted(found)]

    def next_due_ms(self) -> int | None:
        """Return when the next event is to be sent; None if none waits."""
        return min(
            (each.due_ms for each in self.waiting.values() if not each.is_under_way), default=None
        )

    def begin(self, place: Place, now_ms: int) -> PendingEvent:
        """Record that an event is being sent; return it, for the record of the result."""
        event = self.waiting[place]
        event.is_under_way = True
        event.first_ms = event.first_ms or now_ms
        return event

    def forget(self, place: Place, event: PendingEvent) -> None:
        """Drop an event that cannot be read any more."""
        if self._is_waiting(place, event):
            del self.waiting[place]

    def take(self, place: Place, event: PendingEvent, now_ms: int, status: int) -> None:
        """Record that an event was delivered."""
        self.forget(place, event)
        self._change(
            attempt_at_ms=now_ms,
            attempt_status=status,
            attempt_error=None,
            success_at_ms=now_ms,
            failing_since_ms=None,
            delivered=self.state.delivered + 1,
        )

    def fail(
        self,
        place: Place,
        event: PendingEvent,
        now_ms: int,
        status: int | None,
        error: str,
        pause_ms: int | None,
    ) -> bool:
        """Record that an event was not delivered; return whether it was given up.

        If it was, and no event was delivered since its first attempt, the webhook is disabled, and
        the event waits until it is enabled again. An answer 410 disables it at once. An attempt
        that began before `start_over` says nothing about the receiver of now: the event is sent
        again at once.

        Args:
            place: Place of the event.
            event: The event, as `begin` returned it.
            now_ms: The time.
            status: HTTP status of the answer; None without one.
            error: Code of the failure.
            pause_ms: Time until the next attempt; None without one.
        """
        self._change(
            attempt_at_ms=now_ms,
            attempt_status=status,
            attempt_error=error,
            failed=self.state.failed + 1,
        )
        event.is_under_way = False
        if event.first_ms == 0 or not self._is_waiting(place, event):
            return False
        self._change(failing_since_ms=self.state.failing_since_ms or now_ms)
        event.attempts += 1
        if error == GONE:
            self._disable(now_ms, GONE, event)
        elif pause_ms is not None:
            event.due_ms = now_ms + pause_ms
        elif (self.state.success_at_ms or 0) < event.first_ms:
            self._disable(now_ms, NEVER_ANSWERED, event)
        else:
            del self.waiting[place]
            self._change(given_up=self.state.given_up + 1)
            return True
        return False

    def note_test(self, result: TestResult) -> None:
        """Keep the result of a test."""
        self._change(test=result)

    def to_json(self) -> dict[str, Any]:
        """Return it as the log has it."""
        return {
            "positions": {str(each): offset for each, offset in sorted(self.positions.items())},
            "waiting": [
                [*place, each.attempts, each.due_ms, each.first_ms]
                for place, each in sorted(self.waiting.items())
            ],
            "state": self.state.model_dump(by_alias=True, mode="json", exclude_none=True),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> DispatchProgress:
        """Return the progress in the log.

        Raises:
            InputError: it is invalid.
        """
        stored = parse(_Stored, found)
        return cls(
            {int(partition): offset for partition, offset in stored.positions.items()},
            {
                (partition, offset): PendingEvent(attempts, due_ms, first_ms)
                for partition, offset, attempts, due_ms, first_ms in stored.waiting
            },
            stored.state,
        )

    def _is_waiting(self, place: Place, event: PendingEvent) -> bool:
        """Return whether an event waits still, and was not read again since it was sent."""
        return self.waiting.get(place) is event

    def _disable(self, now_ms: int, because: str, event: PendingEvent) -> None:
        event.attempts, event.due_ms, event.first_ms = 0, now_ms, 0
        self._change(disabled_at_ms=now_ms, disabled_because=because)

    def _change(self, **changes: Any) -> None:
        self.state = self.state.model_copy(update=changes)
