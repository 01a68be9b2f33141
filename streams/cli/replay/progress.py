"""Progress of a replay, on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, TextColumn, TimeElapsedColumn

from streams.cli.progress import bars
from streams.replay.verify import ReplayObserver


class Bar(ReplayObserver):
    """Shows how far a replay is.

    Attributes:
        events: Events folded so far.
        seconds: How long that has taken.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading what is live", total=None, speed="")
        self._started = time.perf_counter()
        self.events = 0
        self.seconds = 0.0

    def begin(self, offsets: int) -> None:
        """Show what is to be done."""
        self._progress.update(self._task, description="folding", total=offsets)
        self._started = time.perf_counter()

    def advance(self, offsets: int, events: int) -> None:
        """Show what was done."""
        self.events += events
        self.seconds = time.perf_counter() - self._started
        self._progress.update(self._task, advance=offsets, speed=f"{self.speed:,.0f} events/s")

    @property
    def speed(self) -> float:
        """Events folded in a second."""
        return self.events / self.seconds if self.seconds else 0.0


@contextmanager
def catching_up() -> Iterator[Callable[[int, int], None]]:
    """Show how many records workers have folded, and of how many, as the block reports it."""
    with _progress() as progress:
        task = progress.add_task("building", total=None, speed="")

        def advance(folded: int, to_fold: int) -> None:
            progress.update(
                task, completed=folded, total=to_fold, speed=f"{folded:,} of {to_fold:,} records"
            )

        yield advance


@contextmanager
def watched() -> Iterator[Bar]:
    """Show a bar on stderr while the block runs, if that is a terminal."""
    with _progress() as progress:
        yield Bar(progress)


def _progress() -> Progress:
    return bars(TextColumn("{task.fields[speed]}"), TimeElapsedColumn())
