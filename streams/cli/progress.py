"""Progress bars on stderr, where a person looks; nothing is drawn into a pipe or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from streams.cli import terminal


def bars(*columns: ProgressColumn, transient: bool = True) -> Progress:
    """Return a progress display: description, bar, `columns` and the time left.

    Args:
        columns: Columns between the bar and the time left.
        transient: Whether the bars disappear at the end.
    """
    return Progress(
        TextColumn("{task.description:12}"),
        BarColumn(),
        *columns,
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal.err,
        transient=transient,
        disable=not terminal.err.is_terminal,
    )


@contextmanager
def counting(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show one bar while the block runs, and yield the function that advances it.

    Args:
        description: Name of what is counted.
        total: Where it ends; None if that is unknown.
    """
    with bars(MofNCompleteColumn()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)
