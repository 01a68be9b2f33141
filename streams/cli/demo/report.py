"""The end of the demo: wait until the counts stand still, and say whether they are exact."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from experiment_streams_client import AsyncExperimentClient, Stats
from streams.cli import terminal
from streams.cli.demo.ledger import ComparedCount, SentEvents
from streams.cli.demo.scenario import SHIPPED
from streams.cli.demo.view import comparison

SETTLE_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.2

STILL_S = 1.0
"""Time for which the counts must stay exact: what arrives twice and late must not count either."""


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Result of the demo.

    Attributes:
        lines: What was sent beside what was counted.
        stats: The last statistics of every experiment.
        assignments: Assignments answered, duplicates included.
        not_enrolled: Visitors outside of an experiment's traffic.
        observations: Observations sent, duplicates included.
        duplicates: Those of them that must not count.
        settled_in_s: Seconds from the last event until every count was right; None if never.
        is_shipped: Whether, after the conclusion of `SHIPPED`, a new user got its winner.
    """

    lines: tuple[ComparedCount, ...]
    stats: tuple[Stats, ...]
    assignments: int
    not_enrolled: int
    observations: int
    duplicates: int
    settled_in_s: float | None
    is_shipped: bool | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the engine counted exactly what was sent, and serves what was shipped."""
        is_counted = self.settled_in_s is not None and all(line.is_exact for line in self.lines)
        return is_counted and self.is_shipped is not False

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object; sums are in micro-units."""
        return {
            "exact": self.is_exact,
            "settledInSeconds": self.settled_in_s,
            "shipped": self.is_shipped,
            "assignmentsAnswered": self.assignments,
            "notEnrolled": self.not_enrolled,
            "observationsSent": self.observations,
            "duplicates": self.duplicates,
            "lines": [
                {
                    "experiment": line.experiment,
                    "variant": line.variant,
                    "metric": line.metric,
                    "sent": {"count": line.sent.n, "sumMicro": line.sent.sum_micro},
                    "counted": {"count": line.counted.n, "sumMicro": line.counted.sum_micro},
                    "exact": line.is_exact,
                }
                for line in self.lines
            ],
            "stats": [stats.to_json() for stats in self.stats],
        }

    def show(self) -> None:
        """Print it for people."""
        terminal.out.print(comparison(self.lines))
        terminal.out.print(
            f"\n{self.assignments:,} assignments answered, {self.not_enrolled:,} not enrolled; "
            f"{self.observations:,} observations sent, {self.duplicates:,} of them duplicates "
            "that must not count."
        )
        if self.is_exact:
            text = f"Every count is exact, {self.settled_in_s:.1f} s after the last event."
            terminal.out.print(Text(text, "bold green"))
        else:
            wrong = sum(not line.is_exact for line in self.lines)
            text = f"{wrong} of {len(self.lines)} lines differ after {SETTLE_TIMEOUT_S:g} s."
            terminal.out.print(Text(text, "bold red"))
        if self.is_shipped:
            terminal.out.print(f"{SHIPPED} is concluded, and a new user gets its winner.")
        elif self.is_shipped is not None:
            terminal.out.print(Text(f"{SHIPPED} does not serve its winner.", "bold red"))


async def settled(
    client: AsyncExperimentClient, experiment_ids: Sequence[str], ledger: SentEvents
) -> DemoReport:
    """Return the report once every count has been exact for a while, or the time is over."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    exact_since: float | None = None
    while True:
        calls = [client.get_experiment_stats(each) for each in experiment_ids]
        stats = tuple(await asyncio.gather(*calls))
        lines = tuple(line for each in stats for line in ledger.compared(each))
        now = loop.time()
        if not all(line.is_exact for line in lines):
            exact_since = None
        elif exact_since is None:
            exact_since = now
        is_still = exact_since is not None and now - exact_since >= STILL_S
        if is_still or now - begin > SETTLE_TIMEOUT_S:
            return DemoReport(
                lines=lines,
                stats=stats,
                assignments=ledger.assignments_answered,
                not_enrolled=ledger.not_enrolled,
                observations=ledger.observations_sent,
                duplicates=ledger.duplicates,
                settled_in_s=None if exact_since is None else round(exact_since - begin, 3),
            )
        await asyncio.sleep(LOOK_EVERY_S)
