"""Rows are run one by one, each kept as soon as it is done, with a bar that shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.calibration.results import Store
from benchmarks.calibration.row import Group, Row


def run_rows(
    rows: Sequence[tuple[Group, Row]], store: Store, *, is_quick: bool = False, scale: float = 1.0
) -> None:
    """Run some rows and keep their results.

    Args:
        rows: Which, with their groups.
        store: Where results are kept.
        is_quick: Whether the smaller cut is run; rows that have none are left out.
        scale: Part of the repetitions that are run.
    """
    if is_quick:
        rows = [(group, row) for group, row in rows if row.quick_repetitions]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ) as bars:
        whole = bars.add_task("rows", total=len(rows))
        for group, row in rows:
            size = row.quick if is_quick else row.scaled(scale)
            with shown(bars, f"{group.name}/{row.name}") as progress:
                store.keep(group.name, row.name, row.run(size, progress))
            bars.advance(whole)


@contextmanager
def shown(bars: Progress, name: str) -> Iterator[Callable[[Iterable[int]], Iterable[int]]]:
    """Show the steps of a row in a bar of its own while it runs.

    Args:
        bars: The display.
        name: What the bar is called.
    """
    task = bars.add_task(name, total=None)

    def progress(steps: Iterable[int]) -> Iterator[int]:
        known = list(steps)
        bars.update(task, total=len(known))
        for step in known:
            yield step
            bars.advance(task)

    try:
        yield progress
    finally:
        bars.remove_task(task)
