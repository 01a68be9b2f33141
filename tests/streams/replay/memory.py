"""An installation in memory: a log, and what workers would have made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.time_points import has_point, point_of
from streams.fold.decisions import recommended
from streams.fold.experiment_state import ExperimentState
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.partition import PartitionFold, Progress
from streams.fold.records import Folding
from streams.fold.segments import WindowSegment
from streams.model.events import (
    Command,
    CommandKind,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
)
from streams.model.generations import FIRST
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_weights
from streams.model.vectors import pack
from streams.replay.partitions import FoldInputs
from streams.tallies.cell import Cell, Source
from streams.tallies.plan import Plan
from streams.wire.batch_tags import sealer
from streams.wire.cells import encode_cell
from streams.wire.commands import encode_command
from streams.wire.decisions import encode_decision
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import encode_snapshot
from streams.wire.time_points import encode_time_point
from tests.twins.log import START_MS, MemoryLog

KEYS = f"1:{bytes(range(32)).hex()}"
KEYRING = Keyring.parse(KEYS)
LIMIT = 1_000
INPUTS = FoldInputs(KEYS, LIMIT)
NOW_MS = START_MS
PARTITIONS = 2
EXPERIMENTS = (7, 8, 9)
CONTEXTUAL = 8
MEASURED = 9
WEIGHTS = pack_weights((32_768, 32_768, 0))
VECTORS = ((0, 1024),), ((0, 1024), (1, 1024)), ((0, 1024), (2, 1024), (3, -300))
DEFINITION: dict[str, Any] = {
    "config": {
        "name": "test",
        "type": "thompson_sampling",
        "primaryMetric": "click",
        "minSampleSize": 5,
    },
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}
CONTEXTUAL_DEFINITION = DEFINITION | {
    "variants": [*DEFINITION["variants"], {"name": "c"}],
    "config": DEFINITION["config"]
    | {
        "type": "lin_ts",
        "parameters": {
            "features": [
                {"name": "device", "type": "category", "values": ["mobile", "desktop"]},
                {"name": "age", "type": "number", "minimum": 0, "maximum": 100},
            ]
        },
    },
}
MEASURED_DEFINITION = DEFINITION | {
    "config": DEFINITION["config"]
    | {
        "metrics": {"click": {"cap": 3}},
        "periods": {"halfLife": 3600, "delayed": True, "stratified": True},
    }
}
DEFINITIONS = {CONTEXTUAL: CONTEXTUAL_DEFINITION, MEASURED: MEASURED_DEFINITION}


@dataclass
class Kept:
    """Worker state of one partition, to resume from."""

    progress: Progress | None = None
    cells: dict[int, Cell] = field(default_factory=dict)
    segments: dict[str, WindowSegment] = field(default_factory=dict)


class Installation:
    """Workers that fold, emit and publish on request, over a log in memory."""

    def __init__(self, definitions: Mapping[int, dict[str, Any]] = DEFINITIONS) -> None:
        self.log = MemoryLog()
        self._definitions = definitions
        self.redis: dict[int, Snapshot] = {}
        self.known = {number: ExperimentState(number) for number in EXPERIMENTS}
        self._folds: dict[Source, list[PartitionFold]] = {}
        self._foldings: dict[Source, Folding[Any]] = {
            Source.IMPRESSIONS: ImpressionFolding(SINGLE_OBJECT, KEYRING, LIMIT, self._plan_of),
            Source.OBSERVATIONS: ObservationFolding(
                SINGLE_OBJECT, KEYRING, LIMIT, self._plan_of, PARTITIONS
            ),
        }
        for source, folding in self._foldings.items():
            self._folds[source] = [folding.new_fold(n) for n in range(PARTITIONS)]
        self.unsent: dict[tuple[int, Source, int], Cell] = {}
        self._kept: defaultdict[tuple[Source, int], Kept] = defaultdict(Kept)
        self._n_commands = 0

    def command(
        self,
        number: int,
        kind: CommandKind,
        command_id: str | None = None,
        payload: Mapping[str, Any] | None = None,
        at_ms: int = NOW_MS,
    ) -> None:
        """Append a command, apply it and log the decision."""
        self._n_commands += 1
        if payload is None:
            is_creation = kind is CommandKind.CREATE
            payload = self._definitions.get(number, DEFINITION) if is_creation else {}
        name = command_id or f"{self._n_commands:032x}"
        command = Command(name, number, kind, at_ms, payload)
        offset = self.log.append("commands", 0, encode_command(command))
        taken = self.known[number].take_command(offset, command)
        if taken.decision is not None:
            self.log.append("decisions", 0, encode_decision(taken.decision))

    def _plan_of(self, number: int) -> Plan | None:
        experiment = self.known[number].experiment
        if experiment is None:
            return None
        return plan_of(experiment.definition, experiment.n_started)

    def traffic(self, random: Random, n_records: int) -> None:
        """Append impressions, observations, repetitions and noise."""
        receipts = []
        for sequence in range(n_records):
            partition = random.randrange(PARTITIONS)
            groups = []
            for number in random.sample(EXPERIMENTS, random.randint(1, len(EXPERIMENTS))):
                units = [random.getrandbits(64) for _ in range(4)]
                variants = [unit & 1 for unit in units]
                columns = [PROPENSITY_ONE // 2] * 4, [2] * 4, [NOW_MS] * 4
                features = [
                    pack(random.choice(VECTORS)) if number == CONTEXTUAL else b"" for _ in units
                ]
                seen = features if any(features) else ()
                weights = [WEIGHTS if number == CONTEXTUAL else b""] * 4
                groups.append(
                    ImpressionGroup(
                        number, False, variants, *columns, units, (), seen, weights if seen else ()
                    )
                )
                receipts += [
                    KEYRING.sign(
                        Receipt(
                            number,
                            variant,
                            PROPENSITY_ONE // 2,
                            2,
                            NOW_MS,
                            unit,
                            86_400,
                            packed_weights if seen else b"",
                            packed,
                        )
                    )
                    for variant, unit, packed, packed_weights in zip(
                        variants, units, features, weights, strict=True
                    )
                ]
            batch = sealer(KEYRING)(
                "impressions",
                partition,
                encode_impression_batch(ImpressionBatch(5, partition, sequence, groups)),
            )
            for _ in range(random.choice([1, 1, 2])):
                self.log.append("impressions", partition, batch)
            for _ in range(3):
                receipt = random.choice(receipts)
                value = random.choice([MICRO, MICRO, 5 * MICRO // 2])
                event = Observation(receipt, "click", value, str(random.randrange(4)), NOW_MS + 1)
                self.log.append(
                    "observations",
                    partition_of(receipt.encode(), PARTITIONS),
                    noisy(random, event),
                )

    def fold(self, source: Source, partition: int, n_records: int) -> None:
        """Fold the next records; the changed cells wait to be sent."""
        fold = self._folds[source][partition]
        records = self.log.topics[source.value, partition]
        batch = [record for record in records if record.offset > fold.last_offset][:n_records]
        self._foldings[source].fold(fold, batch)
        changes = fold.take_changes()
        kept = self._kept[source, partition]
        kept.progress = changes.progress
        kept.segments.update((segment.key, segment) for segment in changes.segments)
        for key in changes.forgotten:
            kept.segments.pop(key, None)
        for taken in changes.cells:
            kept.cells[taken.experiment] = taken
            self.unsent[taken.experiment, source, partition] = taken

    def restart(self) -> None:
        """Start the workers again, with what they have written."""
        for (source, partition), kept in self._kept.items():
            fold = self._foldings[source].new_fold(partition)
            fold.restore(kept.progress, kept.cells.values(), kept.segments.values())
            self._folds[source][partition] = fold

    def emit(self, key: tuple[int, Source, int]) -> None:
        """Send a cell on."""
        cell = self.unsent.pop(key)
        self.log.append("tallies", cell.experiment % PARTITIONS, encode_cell(cell))
        self.known[cell.experiment].take_cell(cell)

    def publish(self, number: int, *, to_redis: bool = True) -> None:
        """Publish what is known of an experiment, and the change of its recommended action."""
        known = self.known[number]
        snapshot = known.snapshot()
        if snapshot is None:
            return
        name = experiment_id(number).encode()
        self.log.append("posteriors", number % PARTITIONS, encode_snapshot(snapshot), name)
        if has_point(snapshot):
            point = point_of(snapshot, FIRST)
            key = name + b"/%d" % snapshot.version  # all are at the same second here
            self.log.append("timeseries", number % PARTITIONS, encode_time_point(point), key)
        if to_redis:
            self.redis[number] = snapshot
        if snapshot.recommended_action is not known.action:
            known.action = snapshot.recommended_action
            self.log.append("decisions", 1, encode_decision(recommended(snapshot)))

    def projection(self) -> Sequence[Snapshot]:
        """Return what Redis holds."""
        return list(self.redis.values())


def noisy(random: Random, event: Observation) -> bytes:
    """Return the record of an event, or sometimes none."""
    return b"noise" if random.random() < 0.1 else encode_observation(event)


def installation(seed: int, *, restarted_after: int = 0) -> Installation:
    """Return an installation that has done things in an order drawn from `seed`.

    Args:
        seed: Of the order.
        restarted_after: Steps after which the workers are restarted; 0 for never.
    """
    random = Random(seed)
    made = Installation()
    for number in EXPERIMENTS:
        made.command(number, CommandKind.START, "ab" * 16)  # it does not exist yet
        made.command(number, CommandKind.CREATE)
        made.command(number, CommandKind.START)
        made.publish(number)
    made.traffic(random, 30)
    for step in range(60):
        if step and step == restarted_after:
            made.restart()
        source = random.choice(list(Source))
        made.fold(source, random.randrange(PARTITIONS), random.randint(1, 20))
        if made.unsent and random.random() < 0.7:
            made.emit(random.choice(sorted(made.unsent)))
        if random.random() < 0.3:
            made.publish(random.choice(EXPERIMENTS), to_redis=random.random() < 0.7)
        if random.random() < 0.1:
            kind = random.choice([CommandKind.PAUSE, CommandKind.RESUME, CommandKind.CREATE])
            made.command(random.choice(EXPERIMENTS), kind)
    return made
