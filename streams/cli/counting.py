"""How far a long count is, where a person looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.cli import terminal


@contextmanager
def counting(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the block runs, if that is a terminal.

    Args:
        description: What is counted.
        total: How much there is to count.

    Yields:
        What is to be told how much was done since the last call.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal.err,
        transient=True,
        disable=not terminal.err.is_terminal,
    )
    with progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, advance=done)
