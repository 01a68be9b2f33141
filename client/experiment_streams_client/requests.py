"""What callers hand in: the context of an assignment, and an observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.model.quantities import to_micro


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks for a variant, and under which circumstances.

    Attributes:
        user_id: The unit of experiments on users.
        session_id: The unit of experiments on sessions.
        fallback_unit_id: Another id of the same unit, as the one it had before logging in; the
            first receipt of either id is that of both.
        timestamp: Time of the request, in milliseconds since the epoch; now unless given. At most
            five minutes ahead of the API's clock, and before the start of the experiment.
        device, location: What is known of the request; logged with the impression.
        features: More of it, as JSON values.
    """

    user_id: str | None = None
    session_id: str | None = None
    timestamp: int | None = None
    device: str | None = None
    location: str | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    fallback_unit_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the HTTP API; what is not known is left out.

        >>> Context(user_id="user_123", device="mobile").to_json()
        {'userId': 'user_123', 'device': 'mobile'}
        """
        named = {
            "userId": self.user_id,
            "sessionId": self.session_id,
            "fallbackUnitId": self.fallback_unit_id,
            "timestamp": self.timestamp,
            "device": self.device,
            "location": self.location,
            "features": dict(self.features) or None,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Observation:
    """A metric value of an assignment, to be sent.

    Attributes:
        assignment_id: `Assignment.id`.
        metric: Name of the metric.
        value: In units of the metric, finite, at most 10**9 in absolute value.
        event_id: The sender's name of the event; the same one for the same assignment and metric
            counts once.
        timestamp: Time of the event, in milliseconds since the epoch; now unless given.
    """

    assignment_id: str
    metric: str
    value: float
    event_id: str | None = None
    timestamp: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the HTTP API.

        Raises:
            EventError: the value is not finite or too large.

        >>> Observation("AQ", "click", 1).to_json()
        {'assignmentId': 'AQ', 'metric': 'click', 'value': 1}
        """
        to_micro(self.value)
        named = {
            "assignmentId": self.assignment_id,
            "metric": self.metric,
            "value": self.value,
            "eventId": self.event_id,
            "timestamp": self.timestamp,
        }
        return {name: value for name, value in named.items() if value is not None}
