"""Experiments whose variants are added, stopped, reactivated and renamed while units come.

Units are assigned by the snapshots that were published, as the API does it, so receipts of every
roster and phase are in the log. However workers divide it, and wherever they are restarted, they
publish what a replay computes; and what is counted is what a naive count of the log gives.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.experiments.assignment import Assigner
from streams.experiments.unit_kind import UnitKind
from streams.fold.experiment_state import ExperimentState
from streams.fold.stored import decode_stored, encode_stored
from streams.kafka.records import StoredRecord
from streams.model.events import EXPOSED, EXPOSURE, CommandKind, ImpressionBatch, Observation
from streams.model.events import ImpressionGroup as Group
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO
from streams.model.receipts import Receipt
from streams.model.voids import void_metric
from streams.replay.verify import verify
from streams.tallies.cell import Source
from streams.tallies.merging import merge
from streams.tallies.plan import Plan
from streams.wire.batch_tags import sealer
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import decode_observations, encode_observation
from streams.wire.snapshots import decode_snapshot, encode_snapshot
from tests.streams.replay.memory import EXPERIMENTS, INPUTS, KEYRING, NOW_MS, PARTITIONS
from tests.streams.replay.memory import Installation as Static

VARIANTS = [{"name": "a", "isControl": True}, {"name": "b"}, {"name": "c"}]
CONFIGS: dict[int, dict[str, Any]] = {
    7: {"type": "bayesian_ab", "unit": "user", "attributionWindow": 0},
    8: {"type": "thompson_sampling", "unit": "user", "conversionWindow": 3_600},
    9: {
        "type": "ucb",
        "unit": "impression",
        "exposure": "event",
        "metrics": {"click": {"cap": 3}, "pay": {"winsorize": 0.9}},
        "secondaryMetrics": ["pay"],
        "dimensions": [{"name": "device", "values": ["mobile", "desktop"]}],
    },
}
DEFINITIONS: dict[int, dict[str, Any]] = {
    number: {
        "config": {"name": "life", "primaryMetric": "click", "minSampleSize": 2, **config},
        "variants": VARIANTS,
    }
    for number, config in CONFIGS.items()
}


class Installation(Static):
    """Workers, and an API that assigns by what they have published last."""

    def __init__(self) -> None:
        super().__init__(DEFINITIONS)
        self.receipts: list[Receipt] = []
        self._plans: dict[int, Plan | None] = {}
        self._first: dict[tuple[int, int, str], Receipt] = {}
        self._sequences = [0] * PARTITIONS
        self._n_events = 0

    def change(self, number: int, kind: CommandKind, payload: dict[str, Any]) -> None:
        """Give a command, accepted or not; what is stored of the experiment is all of it."""
        self.command(number, kind, None, payload, NOW_MS + self._n_commands)
        known = self.known[number]
        if known.experiment is not None:
            # What is counted is fixed at the start, as workers read it from the log.
            plan = self._plan_of(number)
            assert self._plans.setdefault(number, plan) == plan
            stored = decode_stored(known.entry())
            assert stored.experiment == known.experiment
            assert encode_stored(stored) == known.entry()

    def assign(self, number: int, unit: int, at_ms: int, eligible: int | None) -> None:
        """Assign a unit by the snapshot that was published last, and log it."""
        snapshot = self.redis.get(number)
        if snapshot is None or not snapshot.experiment.is_assigning:
            return
        assigner = Assigner(decode_snapshot(encode_snapshot(snapshot)))
        is_repeated = assigner.unit_kind is not UnitKind.IMPRESSION
        key: str | bytes = f"u{unit}" if is_repeated else Random(unit + at_ms).randbytes(16)
        place = number, assigner.phase, f"u{unit}"
        kept = self._first.get(place) if is_repeated else None
        made = assigner.assign(key, at_ms, None, "mobile", None, None if is_repeated else eligible)
        if not made.enrolled:
            return
        assert assigner.shows(made.variant)
        assert made.receipt.propensity > 0
        receipt = made.receipt if kept is None or not assigner.is_remembered else kept
        self._first.setdefault(place, receipt)
        self.receipts.append(receipt)
        group = Group(
            number,
            is_repeated,
            [receipt.variant],
            [receipt.propensity],
            [receipt.allocation_version],
            [receipt.assigned_at_ms],
            [receipt.unit],
            (),
            [receipt.features] if receipt.features else (),
            [receipt.weights] if receipt.weights else (),
            dimensions=[receipt.dimensions] if receipt.dimensions else (),
        )
        partition = receipt.unit % PARTITIONS
        batch = ImpressionBatch(5, partition, self._sequences[partition], [group])
        self._sequences[partition] += 1
        record = sealer(KEYRING)("impressions", partition, encode_impression_batch(batch))
        self.log.append("impressions", partition, record, timestamp=at_ms)

    def observe(self, receipt: Receipt, metric: str, value: int, after_ms: int) -> None:
        """Log an observation of an assignment."""
        self._n_events += 1
        text = KEYRING.sign(receipt)
        at_ms = receipt.assigned_at_ms + after_ms
        event = Observation(text, metric, value, f"e{self._n_events}", at_ms)
        partition = partition_of(text.encode(), PARTITIONS)
        self.log.append("observations", partition, encode_observation(event), timestamp=at_ms)

    def settle(self) -> None:
        """Fold, emit and publish all that is left."""
        for source in Source:
            for partition in range(PARTITIONS):
                self.fold(source, partition, 1_000_000)
        for key in sorted(self.unsent):
            self.emit(key)
        for number in EXPERIMENTS:
            self.publish(number)

    def publish(self, number: int, *, to_redis: bool = True) -> None:
        """Publish; no state of an experiment keeps it from being evaluated."""
        super().publish(number, to_redis=to_redis)
        snapshot = self.known[number].snapshot()
        assert snapshot is None or snapshot.failure is None, snapshot.failure


NAMES = st.sampled_from(["a", "b", "c", "d", "e", "A", "\u00e9", "e\u0301"])
PLACES = st.integers(0, 4).map(lambda index: f"_v{index}")
changes = st.one_of(
    st.tuples(st.just(CommandKind.ADD_VARIANT), st.fixed_dictionaries({"name": NAMES})),
    st.tuples(
        st.just(CommandKind.CHANGE_VARIANT),
        st.fixed_dictionaries({"variant": NAMES | PLACES, "isActive": st.booleans()}),
    ),
    st.tuples(
        st.just(CommandKind.CHANGE_VARIANT),
        st.fixed_dictionaries({"variant": NAMES | PLACES, "name": NAMES}),
    ),
    st.tuples(
        st.just(CommandKind.UPDATE),
        st.fixed_dictionaries({"trafficAllocation": st.sampled_from([0.0, 0.25, 0.5, 1.0])}),
    ),
    st.tuples(
        st.sampled_from(
            [CommandKind.PAUSE, CommandKind.RESUME, CommandKind.RESUME, CommandKind.TICK]
        ),
        st.just({}),
    ),
    st.tuples(
        st.just(CommandKind.CONCLUDE),
        st.fixed_dictionaries(
            {"winnerVariantId": st.none() | PLACES, "controlShare": st.sampled_from([0.0, 0.2])}
        ),
    ),
    st.tuples(st.sampled_from([CommandKind.ROLLBACK, CommandKind.ARCHIVE]), st.just({})),
)
steps = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(EXPERIMENTS), changes),
    st.tuples(
        st.just("assign"),
        st.sampled_from(EXPERIMENTS),
        st.integers(0, 30),
        st.none() | st.integers(1, 31),
    ),
    st.tuples(
        st.just("observe"),
        st.integers(0, 1_000),
        st.sampled_from(["click", "click", "pay", EXPOSURE, EXPOSURE, void_metric("bot")]),
        st.sampled_from([0, MICRO, 2 * MICRO]),
        st.integers(0, 4_000_000),
    ),
    st.tuples(st.just("work"), st.integers(0, 1 << 32)),
)


def lived(life: list[Any], *, is_lazy: bool = False, restarts: bool = True) -> Installation:
    """Return an installation after steps; a lazy one folds all at the end, apart from snapshots."""
    made = Installation()
    for number in EXPERIMENTS:
        made.change(number, CommandKind.CREATE, DEFINITIONS[number])
        made.change(number, CommandKind.START, {})
        made.publish(number)
    for at_ms, step in enumerate(life, start=NOW_MS):
        match step:
            case "change", number, (kind, payload):
                named = {
                    name: f"{experiment_id(number)}{value}"
                    if isinstance(value, str) and value.startswith("_v")
                    else value
                    for name, value in payload.items()
                }
                made.change(number, kind, named)
                made.publish(number)
            case "assign", number, unit, eligible:
                for each in range(unit, unit + 5):
                    made.assign(number, each, at_ms, eligible)
            case "observe", place, metric, value, after_ms if made.receipts:
                receipt = made.receipts[place % len(made.receipts)]
                made.observe(receipt, metric, EXPOSED if metric == EXPOSURE else value, after_ms)
            case "work", seed if not is_lazy:
                _work(made, Random(seed), restarts=restarts)
    made.settle()
    return made


def _work(made: Installation, random: Random, *, restarts: bool) -> None:
    made.fold(random.choice(list(Source)), random.randrange(PARTITIONS), random.randint(1, 20))
    for key in sorted(made.unsent):
        if random.random() < 0.6:
            made.emit(key)
    if random.random() < 0.4:
        made.publish(random.choice(EXPERIMENTS), to_redis=random.random() < 0.7)
    if restarts and random.random() < 0.2:
        made.restart()


@settings(max_examples=10, deadline=None)
@given(life=st.lists(steps, max_size=40))
def test_a_replay_is_equal_while_definitions_change(life):
    made = lived(life)

    report = verify(made.log, made.projection, INPUTS)

    assert report.difference is None


@settings(max_examples=6, deadline=None)
@given(life=st.lists(steps, max_size=40), seeds=st.lists(st.integers(0, 1 << 32), max_size=20))
def test_how_workers_divide_a_log_while_definitions_change_makes_no_difference(life, seeds):
    """The same traffic, folded at once at the end, and by workers that are restarted."""
    made = lived([each for each in life if each[0] != "work"])

    again = Installation()
    again.log, again.receipts = made.log, made.receipts
    again.log.topics = defaultdict(
        list, {place: [*found] for place, found in made.log.topics.items()}
    )
    again.known = {number: _without_cells(each) for number, each in made.known.items()}
    for seed in seeds:
        random = Random(seed)
        again.fold(random.choice(list(Source)), random.randrange(PARTITIONS), random.randint(1, 9))
        if random.random() < 0.4:
            again.restart()
    again.settle()

    for number in EXPERIMENTS:
        one, other = made.known[number].snapshot(), again.known[number].snapshot()
        assert one is not None
        assert other is not None
        assert encode_snapshot(one) == encode_snapshot(other)


def _without_cells(known: ExperimentState) -> ExperimentState:
    found = known.copy()
    found.cells.clear()
    found.early.clear()
    return found


@settings(max_examples=6, deadline=None)
@given(life=st.lists(steps, max_size=40), order=st.randoms(use_true_random=False))
def test_counts_are_those_of_the_log_in_any_order(life, order):
    """Units by hand; and sums that do not depend on which observation comes first."""
    made = lived([each for each in life if each[0] != "work"])
    cells = made.known[7].cells.values()
    voided = {text for text, metric, _ in _observed(made, 7) if metric.startswith("$void")}
    if not voided:
        tally = merge(cells, NOW_MS)
        units = {index: each.units for index, each in tally.variants.items() if each.units}
        assert units == _units(made, 7)
        clicks = {
            index: each.metrics["click"].total
            for index, each in tally.variants.items()
            if "click" in each.metrics
        }
        assert clicks == _totals(made, 7, "click")

    for place, records in made.log.topics.items():
        if place[0] == "observations":
            values = [(each.timestamp, each.value) for each in records]
            order.shuffle(values)
            made.log.topics[place] = [
                StoredRecord(each.offset, at_ms, each.key, value)
                for each, (at_ms, value) in zip(records, values, strict=True)
            ]
    again = Installation()
    again.log = made.log
    again.known = {number: _without_cells(each) for number, each in made.known.items()}
    again.settle()
    for number in EXPERIMENTS:
        one, other = (each.known[number].cells.values() for each in (made, again))
        assert repr(merge(one, NOW_MS)) == repr(merge(other, NOW_MS))


def _observed(made: Installation, number: int) -> list[tuple[str, str, int]]:
    """Return receipt, metric and value of the observations of an experiment in the log."""
    return [
        (each.assignment_id, each.metric, each.value)
        for (topic, _), records in made.log.topics.items()
        if topic == "observations"
        for record in records
        for each in decode_observations(record.value).observations
        if isinstance(each, Observation) and KEYRING.verify(each.assignment_id).experiment == number
    ]


def _units(made: Installation, number: int) -> dict[int, int]:
    """Return the distinct units of each variant and phase, as impressions say."""
    found = defaultdict(set)
    for (topic, _), records in made.log.topics.items():
        for record in records if topic == "impressions" else ():
            for group in decode_impression_batch(record.value).groups:
                if group.experiment == number:
                    for variant, unit in zip(group.variants, group.units, strict=True):
                        found[variant].add(unit)
    return {variant: len(units) for variant, units in found.items()}


def _totals(made: Installation, number: int, metric: str) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for text, name, value in _observed(made, number):
        if name == metric:
            found[KEYRING.verify(text).variant] += value
    return dict(found)
