"""Live experiments: one stream of the API for all who look at one experiment with one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from dashboard.engine import Engine
from experiment_streams_client import ApiError, Experiment, Stats

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

REFUSED = frozenset({401, 403, 404})
"""Statuses after which another attempt is of no use."""

Key = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class FeedState:
    """The last known state of an experiment.

    Attributes:
        number: Number of the state within its feed, from 1; 0 before the first.
        experiment, stats: The experiment and its statistics; None before the first event.
        is_live: Whether the API is connected; if not, the state may be old.
        error: Refusal that has ended the feed; None while it continues.
        has_ended: Whether the experiment was archived, so that nothing changes any more.
    """

    number: int = 0
    experiment: Experiment | None = None
    stats: Stats | None = None
    is_live: bool = False
    error: ApiError | None = None
    has_ended: bool = False

    @property
    def is_last(self) -> bool:
        """Whether the feed has ended with this state."""
        return self.has_ended or self.error is not None


class Feeds:
    """The feeds of this process.

    Args:
        engine: The API.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._feeds: dict[Key, _Feed] = {}

    async def follow(
        self, api_key: str | None, experiment_id: str
    ) -> AsyncGenerator[FeedState, None]:
        """Yield the state of an experiment, and each change of it or of the connection."""
        key = (api_key, experiment_id)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(self._engine, key, lambda: self._feeds.pop(key, None))
        async with aclosing(feed.follow()) as moments:
            async for moment in moments:
                yield moment

    async def close(self) -> None:
        """End all feeds."""
        for feed in [*self._feeds.values()]:
            feed.end()
        self._feeds.clear()


class _Feed:
    def __init__(self, engine: Engine, key: Key, on_unused: Callable[[], object]) -> None:
        self._client = engine.client(key[0])
        self._experiment_id = key[1]
        self._on_unused = on_unused
        self._n_readers = 0
        self._moment = FeedState()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[FeedState, None]:
        self._n_readers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        seen = 0
        try:
            while True:
                changed, moment = self._changed, self._moment
                if moment.number > seen:
                    seen = moment.number
                    yield moment
                    if moment.is_last:
                        return
                    continue
                await changed.wait()
        finally:
            self._n_readers -= 1
            if not self._n_readers:
                self.end()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._on_unused()

    def _publish(self, moment: FeedState) -> None:
        self._moment = moment
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _read(self) -> None:
        pause_s, last_id = FIRST_PAUSE_S, None
        while not self._moment.is_last:
            before = self._moment
            try:
                async with aclosing(
                    self._client.stream_experiment_stats(self._experiment_id, last_id)
                ) as events:
                    async for event in events:
                        last_id, pause_s = event.id, FIRST_PAUSE_S
                        found = await self._client.get_experiment(self._experiment_id)
                        self._publish(
                            FeedState(self._moment.number + 1, found, event.stats, is_live=True)
                        )
                self._publish(
                    FeedState(
                        self._moment.number + 1,
                        self._moment.experiment,
                        self._moment.stats,
                        has_ended=True,
                    )
                )
            except ApiError as error:
                last_id = None  # so that the next stream begins with the present state
                is_final = error.status in REFUSED
                if is_final or before.is_live or self._moment.is_live or not before.number:
                    self._publish(
                        FeedState(
                            self._moment.number + 1,
                            self._moment.experiment,
                            self._moment.stats,
                            is_live=False,
                            error=error if is_final else None,
                        )
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
