"""The demo on a terminal: a live table while it runs, and the comparison at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from experiment_streams_client import Stats
from streams.cli.demo.ledger import ASSIGNMENTS, EXPOSURES, ComparedCount, CountAndSum
from streams.cli.demo.scenario import Trial
from streams.cli.numbers import number, probability
from streams.cli.tables import INTERVALS, exact, interval, share, table_of

WIDTHS = (-15, 5, 24, 6, -15, 7)
"""Of the columns of the live table, so that those of all experiments stand in line; left is < 0."""


@dataclass(frozen=True, slots=True)
class DemoProgress:
    """Progress of the demo.

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
            behind = f"newest counted {self.behind_s:.2f} s ago"
        return (
            f"{self.elapsed_s:5.1f} s: {self.assignments:,} assignments, "
            f"{self.observations:,} observations, {self.events_per_s:,.0f} events/s, {behind}"
        )


def live_view(
    progress: DemoProgress, all_stats: Iterable[Stats], trial_of: Mapping[str, Trial]
) -> RenderableType:
    """Return every experiment's variants: true mean, posterior mean, allocation, P(best)."""
    head = _grid()
    titles = ("", "true", "mean [interval]", "units", "allocation", "P(best)")
    head.add_row(*map(Text, titles), style="bold")  # as text: brackets would be a style
    parts: list[RenderableType] = [head]
    for stats in all_stats:
        title = f"  {stats.primary_metric}, {stats.type} by {stats.unit}"
        parts.append(Text.assemble((stats.name, "bold"), (title, "dim")))
        parts.append(_variants(stats, trial_of[stats.experiment_id]))
    return Group(*parts, Text(str(progress), "bold"), Text(INTERVALS, "dim"))


def comparison(lines: Sequence[ComparedCount]) -> Table:
    """Return what was sent beside what was counted; what differs is marked."""
    table = table_of(
        "experiment", "variant", "metric", ">sent", ">counted", ">sum sent", ">sum counted", ""
    )
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


def _variants(stats: Stats, trial: Trial) -> Table:
    grid = _grid()
    for variant, truth in zip(stats.variants, trial.variants, strict=True):
        found = variant.stats
        grid.add_row(
            f"  {variant.name}",
            number(truth.mean(stats.primary_metric)),
            Text(interval(found.mean, found.lower, found.upper)),
            f"{found.assignments:,}",
            share(found.allocation),
            probability(found.probability_best),
        )
    return grid


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    for width in WIDTHS:
        justify: JustifyMethod = "left" if width < 0 else "right"
        grid.add_column(width=abs(width), justify=justify, no_wrap=True)
    return grid


def _sum(line: ComparedCount, count: CountAndSum) -> str:
    return "" if line.metric in {ASSIGNMENTS, EXPOSURES} else exact(count.sum_micro)
