"""The statistics of an experiment as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from api.snapshots.cache import ExperimentCache
from api.snapshots.event_streams import EventStreams, sent_event
from streams.experiments.snapshot import Snapshot
from streams.model.errors import ExperimentNotFoundError

PAUSE_S = 0.5
"""Shortest time between two events of a stream: under load statistics change ten times a second."""

STATS, END = "stats", "end"
"""Types of events: statistics, and the end of an archived experiment, after which none come."""


class ExperimentStreams:
    """Streams of the statistics of experiments.

    Args:
        experiments: The snapshots.
        streams: The open streams; an experiment's is announced under its id.
        render: Returns the JSON of a snapshot.
    """

    def __init__(
        self,
        experiments: ExperimentCache,
        streams: EventStreams,
        render: Callable[[Snapshot], Awaitable[bytes]],
    ) -> None:
        self._experiments = experiments
        self._streams = streams
        self._render = render

    def open(self, name: str, last_seen: str | None) -> AsyncIterator[bytes]:
        """Return the server-sent events of an experiment from now on.

        The first event is the state at the beginning, unless it is the one that was seen last.

        Args:
            name: Id or key of the experiment.
            last_seen: Id of the last event that the reader has seen; None if it has seen none.

        Raises:
            ExperimentNotFoundError: no experiment has this name.
            DependencyError: too many streams are open (`TOO_MANY_STREAMS`), or not everything was
                read from Redis yet.
        """
        experiment_id = self._experiments.snapshot(name).experiment.id
        return self._streams.open(
            _Statistics(experiment_id, self._experiments, self._render), last_seen
        )


class _Statistics:
    """The statistics of one experiment, an `EventSource`."""

    pause_s = PAUSE_S

    def __init__(
        self,
        experiment_id: str,
        experiments: ExperimentCache,
        render: Callable[[Snapshot], Awaitable[bytes]],
    ) -> None:
        self.key = experiment_id
        self._experiments = experiments
        self._render = render

    @property
    def id(self) -> str | None:
        snapshot = self._snapshot()
        return None if snapshot is None else _identity(snapshot)

    def is_due(self, last_seen: str | None) -> bool:
        return last_seen != self.id

    async def event(self) -> tuple[str | None, bytes]:
        snapshot = self._snapshot()
        if snapshot is None:
            return None, sent_event("", b"{}", END)
        identity = _identity(snapshot)
        return identity, sent_event(identity, await self._render(snapshot), STATS)

    def _snapshot(self) -> Snapshot | None:
        try:
            return self._experiments.snapshot(self.key)
        except ExperimentNotFoundError:
            return None


def _identity(snapshot: Snapshot) -> str:
    """Return what no other state of any experiment has.

    Versions count records, so two generations of workers may differ at the same one; the time of
    the newest event and the number of units distinguish them, unless they look the same to a
    reader.
    """
    is_failing = "" if snapshot.failure is None else "-failing"
    assigned = sum(variant.assignments for variant in snapshot.variants)
    name = snapshot.experiment.id
    return f"{name}-{snapshot.version}-{snapshot.as_of_ms}-{assigned}{is_failing}"
