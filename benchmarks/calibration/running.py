"""Rows run side by side in processes, each kept as soon as it is done, with a bar for each."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.calibration.code_digest import code_digest
from benchmarks.calibration.results import Kept, Store
from benchmarks.calibration.row import Row, Section, Size

_POLL_S = 0.2
_REPORTED_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """A row to run.

    Attributes:
        group, row: Their names.
        size: How much of it.
    """

    group: str
    row: str
    size: Size

    @property
    def name(self) -> str:
        """Name of the row in commands."""
        return f"{self.group}/{self.row}"


class _Step(NamedTuple):
    """Progress of a job: steps done, of how many."""

    name: str
    done: int
    of: int


_Report = Callable[[_Step], None]


def run_rows(
    rows: Sequence[tuple[Section, Row]],
    store: Store,
    *,
    is_quick: bool = False,
    scale: float = 1.0,
    processes: int = 1,
    again: bool = False,
) -> None:
    """Run rows and keep their results.

    A row that the same code has measured at this size or a larger one is left as it is, so a run
    that was interrupted continues where it stopped. The longest rows start first. Rows that measure
    time run alone, at the end.

    Args:
        rows: Which, with their groups.
        store: Where results are kept.
        is_quick: Whether the smaller cut is run; rows that have none are left out.
        scale: Part of the repetitions that are run.
        processes: Rows that run at the same time, >= 1; with one, in this process.
        again: Whether to run what has been measured already, too.
    """
    if is_quick:
        rows = [(group, row) for group, row in rows if row.quick_repetitions]
    digest = code_digest()
    beside: list[tuple[float, Job]] = []
    alone: list[tuple[float, Job]] = []
    for group, row in rows:
        job = Job(group.name, row.name, row.quick if is_quick else row.scaled(scale))
        kept = store.kept(group.name).get(row.name)
        is_done = kept is not None and kept.covers(digest, job.size.repetitions)
        if again or not is_done:
            (alone if row.is_alone else beside).append((0.0 if kept is None else kept.seconds, job))
    with _bars() as bars:
        whole = bars.add_task("rows", total=len(rows))
        bars.advance(whole, len(rows) - len(beside) - len(alone))
        for part, n_processes in ((beside, processes), (alone, 1)):
            jobs = [job for _, job in sorted(part, key=lambda each: -each[0])]
            for job, kept in _measured(jobs, n_processes, digest, bars):
                store.keep(job.group, job.row, kept)
                bars.console.print(
                    f"{job.name}: {kept.result.repetitions:,} repetitions, {kept.seconds:,.0f} s"
                )
                bars.advance(whole)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _measured(
    jobs: Sequence[Job], processes: int, digest: str, bars: Progress
) -> Iterator[tuple[Job, Kept]]:
    """Run jobs and return each as soon as it is done."""
    if processes == 1 or len(jobs) < 2:  # noqa: PLR2004 - nothing to run beside
        shown = _Shown(bars)
        for job in jobs:
            yield job, _measure(job, digest, shown.show)
            shown.remove(job.name)
        return
    yield from _measured_in_processes(jobs, processes, digest, _Shown(bars))


def _measured_in_processes(
    jobs: Sequence[Job], processes: int, digest: str, shown: _Shown
) -> Iterator[tuple[Job, Kept]]:
    # A process that has threads is not to be forked, and a library may have some.
    context = multiprocessing.get_context("spawn")
    steps: multiprocessing.Queue[_Step] = context.Queue()
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(steps,))
    try:
        running: dict[Future[Kept], Job] = {
            pool.submit(_measure_here, job, digest): job for job in jobs
        }
        while running:
            done, _ = wait(running, _POLL_S, FIRST_COMPLETED)
            with suppress(queue.Empty):
                while True:
                    shown.show(steps.get_nowait())
            for future in done:
                job = running.pop(future)
                shown.remove(job.name)
                yield job, future.result()
    finally:
        # Rows take minutes, and what is interrupted is not waited for.
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


class _Shown:
    """Bars of the rows that are running."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._removed: set[str] = set()

    def show(self, step: _Step) -> None:
        """Show how far a row is; what comes after its end is passed over."""
        if step.name in self._removed:
            return
        if step.name not in self._tasks:
            self._tasks[step.name] = self._bars.add_task(step.name, total=step.of)
        self._bars.update(self._tasks[step.name], completed=step.done, total=step.of)

    def remove(self, name: str) -> None:
        """Remove the bar of a row that is done."""
        self._removed.add(name)
        task = self._tasks.pop(name, None)
        if task is not None:
            self._bars.remove_task(task)


_steps: multiprocessing.Queue[_Step] | None = None


def _begin(steps: multiprocessing.Queue[_Step]) -> None:
    """Prepare a process that runs rows."""
    global _steps  # noqa: PLW0603 - the queue cannot be an argument of a job
    _steps = steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _measure_here(job: Job, digest: str) -> Kept:
    assert _steps is not None  # noqa: S101 - `_begin` has run
    return _measure(job, digest, _steps.put)


def _measure(job: Job, digest: str, report: _Report) -> Kept:
    """Run a row."""
    from benchmarks.calibration.groups import row_of  # noqa: PLC0415 - imports every simulation

    def progress(steps: Iterable[int]) -> Iterator[int]:
        known = list(steps)
        reported_at = -_REPORTED_EVERY_S
        for done, step in enumerate(known):
            now = time.monotonic()
            if now - reported_at >= _REPORTED_EVERY_S:
                report(_Step(job.name, done, len(known)))
                reported_at = now
            yield step

    begun = time.process_time()
    try:
        result = row_of(job.group, job.row).run(job.size, progress)
    except Exception as error:
        error.add_note(f"while {job.name} was measured")
        raise
    return Kept(result, digest, round(time.process_time() - begun, 1))
