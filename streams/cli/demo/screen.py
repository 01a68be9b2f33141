"""Display of the running demo: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Self

from rich.live import Live

from experiment_streams_client import AsyncExperimentClient, Stats
from streams.cli import terminal
from streams.cli.demo.ledger import SentEvents
from streams.cli.demo.scenario import Trial
from streams.cli.demo.view import DemoProgress, live_view

LOOK_EVERY_S = 0.5
PLAIN_LINE_EVERY_S = 2.0


class Screen:
    """Looks at the engine now and then while the block runs, and shows what it sees.

    Args:
        client: The API.
        trial_of: The trials by the id of their experiment.
        ledger: What has been sent so far.
        is_quiet: Show nothing.
    """

    def __init__(
        self,
        client: AsyncExperimentClient,
        trial_of: Mapping[str, Trial],
        ledger: SentEvents,
        *,
        is_quiet: bool,
    ) -> None:
        self._client = client
        self._trial_of = trial_of
        self._ledger = ledger
        self._show = self._table if terminal.out.is_terminal else self._lines
        self._is_quiet = is_quiet
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._is_quiet:
            self._task = asyncio.create_task(self._show())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            # The looks show what can be seen; what must be right is compared at the end.
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _table(self) -> None:
        look = _Looks(self._client, self._trial_of, self._ledger)
        with Live(console=terminal.out, auto_refresh=False, transient=False) as live:
            while True:
                progress, stats = await look.next()
                live.update(live_view(progress, stats, self._trial_of), refresh=True)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _lines(self) -> None:
        look = _Looks(self._client, self._trial_of, self._ledger)
        while True:
            progress, _ = await look.next()
            terminal.out.print(str(progress), soft_wrap=True)
            await asyncio.sleep(PLAIN_LINE_EVERY_S)


class _Looks:
    """Successive looks at all experiments."""

    def __init__(
        self, client: AsyncExperimentClient, trial_of: Mapping[str, Trial], ledger: SentEvents
    ) -> None:
        self._client = client
        self._experiment_ids = list(trial_of)
        self._ledger = ledger
        self._begin = self._before = time.monotonic()
        self._events_before = 0

    async def next(self) -> tuple[DemoProgress, list[Stats]]:
        calls = [self._client.get_experiment_stats(each) for each in self._experiment_ids]
        stats = await asyncio.gather(*calls)
        now, events = time.monotonic(), self._ledger.events
        as_of_ms = max(each.as_of_ms for each in stats)
        progress = DemoProgress(
            elapsed_s=now - self._begin,
            assignments=self._ledger.assignments_answered,
            observations=self._ledger.observations_sent,
            events_per_s=(events - self._events_before) / max(now - self._before, 1e-9),
            behind_s=max(0.0, time.time() - as_of_ms / 1000) if as_of_ms else None,
        )
        self._before, self._events_before = now, events
        return progress, stats
