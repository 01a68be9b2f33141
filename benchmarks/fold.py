"""What it costs to fold one event, without Kafka: `python -m benchmarks.fold`.

Every observation has a receipt and an event id of its own, as the clicks of an ads pipeline have;
impressions come in the batches of the API. After each batch the changes are taken, as the worker
does before they are written. Prints the median and the best of the rounds, in microseconds of
processor time per event. `--profile` adds where it goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schemas.codec import Codec
from streams.domain.events import ImpressionBatch, ImpressionGroup, Observation
from streams.domain.receipts import Keyring, Receipt
from streams.folding.base import Folding
from streams.folding.impressions import ImpressionFolding
from streams.folding.observations import ObservationFolding
from streams.wire import encode_impression_batch, encode_observation
from streams.wire.observations import decode_observations

NOW_MS = 1_760_000_000_000
EXPERIMENTS = 100
VARIANTS = 4
IMPRESSIONS = 500
LIMIT = 10_000_000
KEYS = Keyring({1: bytes(range(32))})
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as folding sees it."""

    offset: int
    timestamp: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds per event.

    Attributes:
        name: What was measured.
        median, best: Over the rounds.
    """

    name: str
    median: float
    best: float


def observations(count: int, start: int = 0) -> list[Logged]:
    """Return records of single Avro observations, no two of one unit."""
    records = []
    for number in range(start, start + count):
        at_ms = NOW_MS + number
        receipt = Receipt(
            number * 7 % EXPERIMENTS, number % VARIANTS, 1 << 30, 1, at_ms, number, 86_400 * 7
        )
        value = MICRO if number % 10 else number % 997 * 10_000
        metric = "click" if number % 10 else "revenue"
        observation = Observation(
            KEYS.sign(receipt), metric, value, f"evt-{number:016x}", at_ms + 5
        )
        records.append(Logged(number, at_ms + 50, encode_observation(observation)))
    return records


def impressions(count: int) -> list[Logged]:
    """Return records of batches of 500 impressions, each batch of ten experiments."""
    size = IMPRESSIONS // 10
    records = []
    for number in range(count // IMPRESSIONS):
        at_ms = NOW_MS + number
        groups = [
            ImpressionGroup(
                (number * 10 + member) % EXPERIMENTS,
                False,
                [unit % VARIANTS for unit in range(size)],
                [1 << 30] * size,
                [1] * size,
                [at_ms] * size,
                [number * size + unit for unit in range(size)],
            )
            for member in range(10)
        ]
        batch = ImpressionBatch(1, 0, number, groups)
        records.append(Logged(number, at_ms, encode_impression_batch(batch)))
    return records


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    codec = Codec()
    clicks = observations(arguments.events)
    batches = impressions(arguments.events * 4)
    counting = ObservationFolding(codec, KEYS, LIMIT)
    texts = [decode_observations(click.value).observations[0] for click in clicks]
    runs: dict[str, tuple[int, Callable[[], Iterator[float]]]] = {
        "decode alone, one by one": (
            len(clicks),
            lambda: _timed(lambda: [decode_observations(click.value, codec) for click in clicks]),
        ),
        "check the receipt alone, one by one": (
            len(clicks),
            lambda: _timed(lambda: [KEYS.open(text.assignment_id) for text in texts]),  # type: ignore[union-attr]
        ),
        "observation": (len(clicks), lambda: _fold(counting, clicks, arguments.batch)),
        "impression": (
            len(batches) * IMPRESSIONS,
            lambda: _fold(ImpressionFolding(codec, LIMIT), batches, 20),
        ),
    }
    costs = [
        cost
        for name, (events, run) in runs.items()
        for cost in _costs(name, events, [list(run()) for _ in range(arguments.rounds)])
    ]
    if arguments.json:
        print(json.dumps([asdict(cost) for cost in costs]))
    else:
        for cost in costs:
            print(f"{cost.name:40} {cost.median:7.2f} us  best {cost.best:6.2f}")
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(lambda: list(_fold(counting, clicks, arguments.batch)))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def _timed(run: Callable[[], object]) -> Iterator[float]:
    start = time.process_time()
    run()
    yield time.process_time() - start


def _fold(folding: Folding[Any], records: Sequence[Logged], size: int) -> Iterator[float]:
    """Yield the seconds of folding all records, and of taking the changes after every batch."""
    fold = folding.new_fold(0)
    folding_s = taking_s = 0.0
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        began = time.process_time()
        refused = folding.fold(fold, batch).refused
        folded = time.process_time()
        fold.take_changes()
        folding_s += folded - began
        taking_s += time.process_time() - folded
        if refused:
            raise AssertionError(refused[0])
    yield folding_s
    yield taking_s


def _costs(name: str, events: int, rounds: Sequence[Sequence[float]]) -> Iterator[Cost]:
    """Yield the cost of every phase, and of all together if there are several."""
    phases = [*zip(*rounds, strict=True)]
    if len(phases) == 1:
        yield _cost(name, phases[0], events)
        return
    yield _cost(f"{name}: decode, verify, fold", phases[0], events)
    yield _cost(f"{name}: take what changed", phases[1], events)
    yield _cost(f"{name}: all", [sum(seconds) for seconds in rounds], events)


def _cost(name: str, seconds: Sequence[float], events: int) -> Cost:
    scale = MICRO / events
    return Cost(name, statistics.median(seconds) * scale, min(seconds) * scale)


if __name__ == "__main__":
    main()
