"""Verification of live cells, snapshots and decisions against the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from streams.kafka.records import LogSource
from streams.model.generations import FIRST
from streams.replay.checks import Checks
from streams.replay.history import history_of
from streams.replay.live import LiveState, Projection, read_live
from streams.replay.partitions import FoldInputs, Part, fold_parts
from streams.replay.report import Report
from streams.tallies.cell import Source


class ReplayObserver:
    """Observer of a replay's progress; the base class ignores it."""

    def begin(self, offsets: int) -> None:
        """Receive the number of offsets to be folded."""

    def advance(self, offsets: int, events: int) -> None:
        """Receive the numbers of further offsets passed, and of events folded in them."""


def verify(
    source: LogSource,
    projection: Projection | None,
    inputs: FoldInputs,
    *,
    generation: int = FIRST,
    is_active: bool = True,
    experiments: Collection[int] = (),
    processes: int = 1,
    watcher: ReplayObserver | None = None,
) -> Report:
    """Fold the log up to where the live values end, and compare.

    Args:
        source: The log, and what is live in Kafka.
        projection: Reads the snapshots of Redis; None leaves Redis out.
        inputs: What is folded with.
        generation: Whose tallies and snapshots are compared.
        is_active: Whether it is the active generation, which logs the recommended actions. Of
            another one the action last logged need not be the one it recommends.
        experiments: Those to compare; none for all.
        processes: How many partitions are folded at a time.
        watcher: Receives the progress.

    Raises:
        LogError: the log lacks records that the live values are made of.
        DependencyError: Kafka, Redis or the schema registry does not answer.
    """
    watcher = watcher or ReplayObserver()
    with inputs.reading(source) as reading:
        live = _chosen(read_live(reading, projection, generation), experiments)
        history = history_of(reading)
    parts = _parts(live)
    watcher.begin(sum(part.end for part in parts))
    planned = replace(inputs, plans=history.plans)
    folded = fold_parts(source, planned, parts, processes, watcher.advance)
    checks = Checks(live, history, folded, generation=generation, is_active=is_active)
    return checks.report(inputs, experiments)


def _chosen(live: LiveState, experiments: Collection[int]) -> LiveState:
    """Return what is live of the experiments to compare."""
    if not experiments:
        return live
    return LiveState(
        cells={key: cells for key, cells in live.cells.items() if key[0] in experiments},
        snapshots={n: found for n, found in live.snapshots.items() if n in experiments},
        projected=None
        if live.projected is None
        else {n: found for n, found in live.projected.items() if n in experiments},
        conclusions={n: found for n, found in live.conclusions.items() if n in experiments},
        points={n: found for n, found in live.points.items() if n in experiments},
        decisions=[each for each in live.decisions if each.value.experiment in experiments],
        unreadable=live.unreadable,
    )


def _parts(live: LiveState) -> list[Part]:
    """Return which partitions are to be folded, how far, and which cells to take note of."""
    wanted: defaultdict[tuple[Source, int], defaultdict[int, set[int]]] = defaultdict(
        lambda: defaultdict(set)
    )
    for (number, source, partition), cells in live.cells.items():
        wanted[source, partition][cells[0].value.last_offset].add(number)
    for snapshot in live.all_snapshots():
        for place in snapshot.value.cells:
            offsets = wanted[Source(place.source), place.partition]
            offsets[place.last_offset].add(snapshot.value.experiment.number)
    for number, points in live.points.items():
        for place in (place for point in points for place in point.value.cells):
            wanted[Source(place.source), place.partition][place.last_offset].add(number)
    return [
        Part(source, partition, max(offsets) + 1, dict(offsets))
        for (source, partition), offsets in sorted(wanted.items())
    ]
