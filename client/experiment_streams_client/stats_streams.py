"""Server-sent events of an experiment's statistics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from experiment_streams_client.errors import ApiError, refusal
from streams.experiments.stats_response import Stats

SILENCE_S = 45.0
"""Seconds without a byte after which a stream is taken for broken: three heartbeats of the API."""

_STATS, _END = "stats", "end"


@dataclass(frozen=True, slots=True)
class StatsEvent:
    """A change of an experiment's statistics.

    Attributes:
        id: Where to continue after a lost connection: `last_event_id` of the next stream.
        stats: The statistics from then on.
    """

    id: str
    stats: Stats


class EventParser:
    """Parser of the lines of a stream of server-sent events.

    Attributes:
        has_ended: Whether the API has said that there will be no further event.
        last_id: Id of the last event.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self.last_id = ""
        self._kind = ""
        self._data: list[str] = []

    def line(self, text: str) -> StatsEvent | None:
        """Take one line, without its end; return the event that it ends, if it is one.

        Raises:
            ApiError: the event has no statistics that this client knows (`UNEXPECTED_ANSWER`).
        """
        if not text:
            kind, data = self._kind, "\n".join(self._data)
            self._kind, self._data = "", []
            if kind == _END:
                self.has_ended = True
            elif kind == _STATS:
                return StatsEvent(self.last_id, _stats(data))
            return None
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self.last_id = value
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        return None


def _stats(data: str) -> Stats:
    try:
        return Stats.from_json(json.loads(data))
    except (ValueError, KeyError, TypeError) as error:
        message = f"the stream has what no engine of this version sends: {error}"
        raise ApiError("UNEXPECTED_ANSWER", message, status=200) from error


def request_of(experiment_id: str, last_event_id: str | None, timeout_s: float) -> dict[str, Any]:
    """Return the arguments of `httpx` for a stream of an experiment.

    Args:
        experiment_id: Its id or key.
        last_event_id: `StatsEvent.id` of the last event that was seen; None to get the present
            statistics at once.
        timeout_s: Seconds to wait for a connection.
    """
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    return {
        "method": "GET",
        "url": f"/experiments/{quote(experiment_id, safe='')}/stream",
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, read=SILENCE_S),
    }


def require_success(response: httpx.Response) -> None:
    """Return if a stream was opened; its body has been read where it was not.

    Raises:
        ApiError: the API refused it.
    """
    if not response.is_success:
        raise refusal(response)
