"""Cost of deduplication: `python -m benchmarks.deduplication`.

Fills the memory of 100 experiments in 4 partitions with ten million events of units that were
observed once, over two days of a week's attribution, and takes what changed after every 20,000 of a
partition, as a worker does. First the segments are dropped, and the resident memory of the process
shows the cost of the deduplication memory. Then they are kept as a worker's table keeps them, and
the memory is built again from what is left of them, as after a start; reading the changelog is not
in it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import psutil

from benchmarks.fold import ATTRIBUTION_S, EXPERIMENTS, MICRO, NOW_MS, PARTITIONS
from streams.fold.deduplication import DeduplicationWindow
from streams.fold.garbage_collection import collect_seldom
from streams.fold.segments import Piece, WindowSegment

BATCH = 20_000
SPREAD_MS = 2 * 86_400_000
SEED = 1

Windows = list[list[DeduplicationWindow]]
"""By partition and experiment."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of deduplication.

    Attributes:
        events: Events remembered.
        resident_bytes: Growth of the process's resident memory, per event.
        written_bytes: All segments written, per event; what is written again counts again.
        kept_bytes: The segments a worker would find, per event.
        segments: How many those are.
        remember_us: Processor time to remember one event, with what is written of it.
        restore_s: Seconds of processor time to build the memory again.
    """

    events: int
    resident_bytes: float
    written_bytes: float
    kept_bytes: float
    segments: int
    remember_us: float
    restore_s: float


def measure(events: int) -> Cost:
    """Remember so many events twice, and build the memory again."""
    process = psutil.Process()
    gc.collect()
    empty = process.memory_info().rss
    began = time.process_time()
    windows = _new_windows(events)
    written = 0
    for segments, _ in _fill(windows, events):
        written += sum(len(segment.body) for segment in segments)
    remember_s = time.process_time() - began
    gc.collect()
    resident = process.memory_info().rss - empty

    windows = _new_windows(events)
    kept: dict[str, WindowSegment] = {}
    for segments, obsolete in _fill(windows, events):
        kept.update((segment.key, segment) for segment in segments)
        for key in obsolete:
            del kept[key]
    windows.clear()
    began = time.process_time()
    restored = _restored(kept.values(), events)
    restore_s = time.process_time() - began
    remembered = sum(len(entries) for window in restored for entries in window.buckets.values())
    if remembered != events:
        raise AssertionError(f"{remembered} of {events} events are remembered after the restore")
    return Cost(
        events,
        round(resident / events, 1),
        round(written / events, 1),
        round(sum(len(segment.body) for segment in kept.values()) / events, 1),
        len(kept),
        round(remember_s / events * 1e6, 2),
        round(restore_s, 2),
    )


def _new_windows(limit: int) -> Windows:
    return [
        [
            DeduplicationWindow(partition * EXPERIMENTS + number, limit)
            for number in range(EXPERIMENTS)
        ]
        for partition in range(PARTITIONS)
    ]


def _fill(windows: Windows, events: int) -> Iterator[tuple[list[WindowSegment], list[str]]]:
    """Remember events, and yield what the batches make of it: new segments and obsolete keys."""
    draw = random.Random(SEED)
    for start in range(0, events, BATCH):
        of_partition = windows[start // BATCH % PARTITIONS]
        for number in range(start, min(start + BATCH, events)):
            at_ms = NOW_MS + SPREAD_MS * number // events
            unit, event = draw.getrandbits(60), draw.getrandbits(60) or 1
            window = of_partition[draw.randrange(EXPERIMENTS)]
            window.observe(at_ms, ATTRIBUTION_S, unit, event, MICRO, at_ms)
        for window in of_partition:
            yield window.take(start)


def _restored(segments: Iterable[WindowSegment], limit: int) -> list[DeduplicationWindow]:
    """Return windows built from segments, as `PartitionFold.restore` builds them."""
    read: dict[int, list[tuple[WindowSegment, Piece]]] = {}
    for segment in segments:
        piece = Piece.unpack(segment.body)
        read.setdefault(piece.experiment, []).append((segment, piece))
    windows = []
    for number, pieces in read.items():
        window = DeduplicationWindow(number, limit)
        window.restore(pieces)
        windows.append(window)
    return windows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    arguments = parser.parse_args()
    collect_seldom()
    print(json.dumps(asdict(measure(arguments.events)), indent=2))


if __name__ == "__main__":
    main()
