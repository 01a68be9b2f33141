"""Exports of a log in a file, in this process or in one that can be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from streams.kafka.records import LogSource
from streams.replay.partitions import FoldInputs
from streams.warehouse.exporter import exporting
from streams.warehouse.opening import opened
from streams.warehouse.target import Commit, Place, StoredState, Warehouse
from tests.patience import PATIENCE_S
from tests.streams.warehouse.worlds import WORLD_INPUTS, load

FEW_ROWS = 4


def export(
    log: LogSource,
    to: str,
    *,
    commit_rows: int = 200,
    wrapped: Callable[[Warehouse], Warehouse] | None = None,
    inputs: FoldInputs = WORLD_INPUTS,
    accept_gap: bool = False,
) -> int:
    """Export what is in a log, and return the number of rows."""
    with opened(to) as target:
        taker = target if wrapped is None else wrapped(target)
        with exporting(
            log, inputs, taker, lambda: 1, commit_rows=commit_rows, accept_gap=accept_gap
        ) as exporter:
            exporter.catch_up()
            return exporter.exported


class Counting:
    """A target that says in shared memory how many commits it has begun, and waits after the last.

    Args:
        target: Takes the commits.
        commits: The number.
        most: Commits taken; the next one waits to be killed.
    """

    def __init__(self, target: Warehouse, commits: Any, most: int) -> None:
        self._target = target
        self._commits = commits
        self._most = most

    def states(self) -> Mapping[Place, StoredState]:
        return self._target.states()

    def commit(self, commit: Commit) -> None:
        self._commits.value += 1
        if self._commits.value > self._most:
            time.sleep(PATIENCE_S)
        self._target.commit(commit)


def export_file(path: Path, to: str, commits: Any, most: int) -> None:
    """Export a saved log a few rows at a time, and count the commits."""
    wrapped = partial(Counting, commits=commits, most=most)
    export(load(path), to, commit_rows=FEW_ROWS, wrapped=wrapped)


class Discarding:
    """A target that keeps nothing, and counts the commits."""

    n_commits = 0

    def states(self) -> Mapping[Place, StoredState]:
        return {}

    def commit(self, commit: Commit) -> None:
        self.n_commits += 1


def commits_of(log: LogSource, to: str) -> int:
    """Return how many commits `export_file` makes in all; nothing is written."""
    discarding = Discarding()
    export(log, to, commit_rows=FEW_ROWS, wrapped=lambda _: discarding)
    return discarding.n_commits
