"""Logs of experiments of every way to count, in which what can come wrongly does."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from streams.fold.experiment_state import ExperimentState
from streams.model.errors import EventError
from streams.model.events import (
    EXPOSURE,
    Command,
    CommandKind,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
    ObservationBatch,
)
from streams.model.ids import experiment_id, variant_id
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Receipt
from streams.model.voids import void_metric
from streams.replay.partitions import FoldInputs
from streams.replay.what_if import Assumptions, what_if
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation, encode_observation_batch
from streams.wire.snapshots import encode_snapshot
from tests.streams.replay.memory import INPUTS, KEYRING, NOW_MS, PARTITIONS
from tests.twins.log import MemoryLog

WORLD_INPUTS = FoldInputs(INPUTS.receipt_keys, 10_000)
WINDOW_S = 3_600
_BASE: dict[str, Any] = {"name": "a", "type": "bayesian_ab", "primaryMetric": "click"}
_VARIANTS = [{"name": "a", "isControl": True}, {"name": "b"}, {"name": "c"}]
CONFIGS: dict[int, dict[str, Any]] = {
    1: _BASE | {"unit": "user"},  # read once, while all values are 0 or 1
    2: _BASE
    | {
        "unit": "user",
        "secondaryMetrics": ["revenue", "margin"],
        "conversionWindow": 900,
        "metrics": {
            "revenue": {"kind": "revenue", "cap": 5},
            "margin": {"floor": -2, "cap": 2, "conversionDelay": 60},
        },
    },
    3: _BASE
    | {
        "unit": "session",
        "exposure": "event",
        "attributionWindow": WINDOW_S,
        "conversionWindow": 1_200,
        "secondaryMetrics": ["revenue"],
        "metrics": {"revenue": {"cap": 3, "conversionDelay": 30}},
    },
    4: _BASE
    | {
        "unit": "impression",
        "attributionWindow": WINDOW_S,
        "primaryMetric": "rate",
        "secondaryMetrics": ["amount"],
        "metrics": {
            "rate": {"kind": "ratio", "numerator": "click", "denominator": "view"},
            "amount": {"winsorize": 0.9},
        },
        "dimensions": [{"name": "device", "values": ["mobile", "desktop"]}],
    },
    5: _BASE | {"unit": "user"},  # with a variant that is stopped
    7: _BASE | {"unit": "user", "exposure": "event"},
    6: _BASE | {"type": "thompson_sampling", "unit": "impression", "attributionWindow": WINDOW_S},
}
METRICS = ("click", "revenue", "margin", "view", "amount", "zoom")
VALUES = (0, MICRO, MICRO, MICRO, 5 * MICRO // 2, -3 * MICRO, 7 * MICRO)
STOPPED = 5
EXPOSED = (3, 7)


@dataclass
class World:
    """A log, and how to continue with it."""

    random: Random
    log: MemoryLog = field(default_factory=MemoryLog)
    receipts: list[Receipt] = field(default_factory=list)
    sequences: dict[int, int] = field(default_factory=dict)
    known: dict[int, ExperimentState] = field(default_factory=dict)
    n_commands: int = 0

    def command(self, number: int, kind: CommandKind, payload: dict[str, Any]) -> None:
        self.n_commands += 1
        command = Command(f"{self.n_commands:032x}", number, kind, NOW_MS, payload)
        offset = self.log.append("commands", 0, encode_command(command))
        state = self.known.setdefault(number, ExperimentState(number))
        answer = state.take_command(offset, command).answer
        assert answer is not None
        assert answer.accepted, answer

    def begin(self) -> None:
        """Create and start all experiments."""
        for topic in ("impressions", "observations", "posteriors"):
            for partition in range(PARTITIONS):
                self.log.topics[topic, partition]
        for number, config in CONFIGS.items():
            self.command(
                number, CommandKind.CREATE, {"config": dict(config), "variants": _VARIANTS}
            )
            self.command(number, CommandKind.START, {})

    def stop_variant(self) -> None:
        stopped = variant_id(experiment_id(STOPPED), 2)
        self.command(STOPPED, CommandKind.CHANGE_VARIANT, {"variant": stopped, "isActive": False})

    def publish(self) -> None:
        """Append the snapshot of every experiment."""
        for number in CONFIGS:
            snapshot = what_if(self.log, WORLD_INPUTS, number, Assumptions()).actual
            name = experiment_id(number).encode()
            self.log.append("posteriors", number % PARTITIONS, encode_snapshot(snapshot), name)

    def assign(self, n: int) -> None:
        """Append batches of impressions: repeated ones, crossed units, promoted variants."""
        random = self.random
        for _ in range(n):
            number = random.choice([*CONFIGS])
            unit = CONFIGS[number]["unit"]
            variants, units, dimensions = [], [], []
            for _ in range(random.randint(1, 6)):
                is_again = unit != "impression" and random.random() < 0.2
                units.append(random.randrange(40) if is_again else random.getrandbits(64))
                variants.append(random.choice([0, 0, 1, 1, 2, 257]))
                dimensions.append(bytes([random.randrange(4)]) if number == 4 else b"")
            at_ms = [NOW_MS + random.randrange(600_000) for _ in units]
            group = ImpressionGroup(
                number,
                unit != "impression",
                variants,
                [PROPENSITY_ONE // 3] * len(units),
                [2] * len(units),
                at_ms,
                units,
                ['{"device":"\\u0000"}' if random.random() < 0.1 else "" for _ in units],
                dimensions=dimensions if number == 4 else (),
            )
            partition = units[0] % PARTITIONS if unit != "impression" else random.randrange(2)
            sequence = self.sequences.get(partition, 0)
            self.sequences[partition] = sequence + 1
            batch = ImpressionBatch(5, partition, sequence, [group])
            record = sealer(KEYRING)("impressions", partition, encode_impression_batch(batch))
            for _ in range(random.choice([1, 1, 1, 2])):
                self.log.append("impressions", partition, record, timestamp=NOW_MS + 10_000_000)
            self.receipts += [
                Receipt(
                    number,
                    variant,
                    PROPENSITY_ONE // 3,
                    2,
                    time,
                    unit_hash,
                    WINDOW_S if "attributionWindow" in CONFIGS[number] else 0,
                    dimensions=packed,
                )
                for variant, time, unit_hash, packed in zip(
                    variants, at_ms, units, dimensions, strict=True
                )
            ]

    def observe(self, n: int, *, voids: bool = True) -> None:
        """Append observations, exposures and voids, single and in batches, and noise."""
        random = self.random
        batches: dict[int, list[Observation | EventError]] = {}
        for _ in range(n):
            receipt = random.choice(self.receipts[-200:])
            text = KEYRING.sign(receipt)
            metric, value = random.choice(METRICS), random.choice(VALUES)
            if receipt.experiment == 1 and random.random() < 0.9:
                metric, value = "click", random.choice(VALUES[:3])
            draw = random.random()
            if receipt.experiment in EXPOSED and draw < 0.4:
                metric, value = EXPOSURE, MICRO
            elif voids and draw > 0.96:
                metric, value = void_metric(random.choice(["ivt", "deleted"])), MICRO
            event_id = random.choice([None, None, "e\u0000", "e1", "\u00e4\u2028"])
            at_ms = receipt.assigned_at_ms + random.randrange(-5_000, 5_000_000)
            event = Observation(text, metric, value, event_id, at_ms)
            partition = partition_of(text.encode(), PARTITIONS)
            if random.random() < 0.3:
                batches.setdefault(partition, []).append(event)
                continue
            record = b"noise" if random.random() < 0.02 else encode_observation(event)
            self.log.append("observations", partition, record, timestamp=NOW_MS + 10_000_000)
        for partition, events in batches.items():
            record = encode_observation_batch(ObservationBatch(events))
            self.log.append("observations", partition, record, timestamp=NOW_MS + 10_000_000)


def world(seed: int, n: int = 60, *, piece: int = 500, publish: bool = False) -> World:
    """Return a world drawn from `seed`, with some `n` records of impressions and 10 n events.

    Args:
        seed: Of all draws.
        n: How much there is.
        piece: Records of one piece of a reading.
        publish: Whether the log has snapshots.
    """
    made = World(Random(seed))
    made.log.piece = piece
    made.begin()
    for step in range(4):
        made.assign(n // 4)
        made.observe(10 * n // 4)
        if step == 1:
            made.stop_variant()
    if publish:
        made.publish()
    return made


def save(made: World, path: Path) -> None:
    """Write a log to a file for another process."""
    path.write_bytes(pickle.dumps((dict(made.log.topics), made.log.piece)))


def load(path: Path) -> MemoryLog:
    """Read what `save` has written."""
    topics, piece = pickle.loads(path.read_bytes())
    log = MemoryLog(piece=piece)
    log.topics.update(topics)
    return log
