"""The demo on a terminal: a live table while it runs, and the comparison at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.client import Stats
from streams.cli.demo.ledger import ASSIGNMENTS, Count, Line
from streams.cli.demo.scenario import Trial
from streams.cli.tables import bar, exact, interval


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the demo is.

    Attributes:
        elapsed_s: Seconds since the first visit.
        assignments: Assignments answered.
        observations: Observations sent.
        events_per_s: Both together, over the last look.
        behind_s: Age of the newest event that the engine has counted; None before the first.
    """

    elapsed_s: float
    assignments: int
    observations: int
    events_per_s: float
    behind_s: float | None

    def __str__(self) -> str:
        """Return it as one plain line."""
        behind = "nothing counted yet"
        if self.behind_s is not None:
            behind = f"newest counted event {self.behind_s:.2f} s old"
        return (
            f"{self.elapsed_s:5.1f} s: {self.assignments:,} assignments, "
            f"{self.observations:,} observations, {self.events_per_s:,.0f} events/s, {behind}"
        )


def live_view(
    progress: Progress, all_stats: Iterable[Stats], trial_of: Mapping[str, Trial]
) -> RenderableType:
    """Return every experiment's variants: true rate, allocation, posterior mean, P(best)."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("experiment")
    table.add_column("variant")
    table.add_column("true rate", justify="right")
    table.add_column("units", justify="right")
    table.add_column("allocation")
    table.add_column("mean [95 % credible interval]", justify="right")
    table.add_column("P(best)", justify="right")
    for stats in all_stats:
        trial = trial_of[stats.experiment_id]
        titles = [Text(stats.name, "bold"), Text(f"{stats.type}, {stats.unit}", "dim")]
        titles += [Text(stats.primary_metric, "dim")]
        for index, (variant, truth) in enumerate(zip(stats.variants, trial.variants, strict=True)):
            found = variant.stats
            table.add_row(
                titles[index] if index < len(titles) else "",
                variant.name,
                f"{truth.rate:.0%}",
                f"{found.assignments:,}",
                f"{bar(found.allocation)} {found.allocation:6.1%}",
                interval(found.mean, found.lower, found.upper),
                f"{found.probability_best:.1%}",
            )
        if len(stats.variants) < len(titles):
            table.add_row(titles[-1])
        table.add_row()
    return Group(table, Text(str(progress), "bold"))


def comparison(lines: Sequence[Line]) -> Table:
    """Return what was sent beside what was counted; what differs is marked."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("experiment", "variant", "metric"):
        table.add_column(title)
    for title in ("sent", "counted", "sum sent", "sum counted"):
        table.add_column(title, justify="right")
    table.add_column("")
    before = ""
    for line in lines:
        table.add_row(
            line.experiment if line.experiment != before else "",
            line.variant,
            line.metric,
            f"{line.sent.n:,}",
            f"{line.counted.n:,}",
            _sum(line, line.sent),
            _sum(line, line.counted),
            Text("=", "green") if line.is_exact else Text("differs", "bold red"),
        )
        before = line.experiment
    return table


def _sum(line: Line, count: Count) -> str:
    return "" if line.metric == ASSIGNMENTS else exact(count.sum_micro)
