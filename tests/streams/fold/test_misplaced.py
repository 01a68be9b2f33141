"""Observations in the wrong partition: moved once, counted once, in workers and in a replay."""

import json
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.observations import ObservationFolding
from streams.fold.partition import Progress
from streams.model.events import Observation, ObservationBatch
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.tallies.plan import plain
from streams.wire.batch_tags import sealer
from streams.wire.observations import encode_observation, encode_observation_batch
from streams.wire.records import SINGLE_OBJECT
from tests.streams.fold.batches import ONE_BY_ONE, vectorized_from

KEYRING = Keyring({1: bytes(range(16))})
FORGER = Keyring({1: bytes(range(1, 17))})
NOW_MS = 1_700_000_000_000
PARTITIONS = 3
RECEIPTS = [
    KEYRING.sign(Receipt(7, unit & 1, PROPENSITY_ONE // 2, 1, NOW_MS, unit, 600))
    for unit in range(12)
]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    timestamp: int = NOW_MS + 5


def folding():
    return ObservationFolding(SINGLE_OBJECT, KEYRING, 1_000, plain, PARTITIONS)


def home(receipt):
    return partition_of(receipt.encode(), PARTITIONS)


events = st.builds(
    Observation,
    st.sampled_from(RECEIPTS),
    st.just("click"),
    st.just(MICRO),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, NOW_MS + 3]),
)


def encoded(kind, found):
    if kind == "json":
        return json.dumps(
            [
                {"assignmentId": each.assignment_id, "metric": each.metric, "value": 1}
                | ({} if each.event_id is None else {"eventId": each.event_id})
                | ({} if each.observed_at_ms is None else {"timestamp": each.observed_at_ms})
                for each in found
            ]
        ).encode()
    if kind == "single":
        return encode_observation(found[0])
    return encode_observation_batch(ObservationBatch(found))


sent = st.tuples(
    st.integers(0, PARTITIONS - 1),
    st.sampled_from(["json", "single", "batch"]),
    st.lists(events, min_size=1, max_size=8),
)


def totals(cells):
    """Return observations and their sum by variant."""
    found: Counter[tuple[int, str]] = Counter()
    for cell in cells:
        for variant, tally in cell.variants.items():
            for metric in tally.metrics.values():
                found[variant, "observations"] += metric.observations
                found[variant, "total"] += metric.total
    return found


def truth(batches):
    """Return what must be counted: events with an id once, and each of the others."""
    once = {}
    for place, (_, _, found) in enumerate(batches):
        for index, each in enumerate(found):
            once[each.assignment_id, each.event_id or (place, index)] = each
    expected: Counter[tuple[int, str]] = Counter()
    for each in once.values():
        variant = KEYRING.open(each.assignment_id)[0].variant
        expected[variant, "observations"] += 1
        expected[variant, "total"] += each.value
    return expected


class Worker:
    """Folds one partition, and loses what it did since its last progress when it crashes."""

    def __init__(self, log, partition):
        self.log, self.partition = log, partition
        self.progress, self.cells, self.segments = Progress(-1, b"\0\0"), {}, {}
        self.restart()

    def restart(self):
        self.fold = folding().new_fold(self.partition)
        self.fold.restore(
            self.progress if self.progress.last_offset >= 0 else None,
            self.cells.values(),
            self.segments.values(),
        )

    def step(self, size, crashes):
        """Fold up to `size` records and send copies; then crash, or make progress."""
        values = self.log[self.partition]
        start = self.fold.last_offset + 1
        records = [Record(n, values[n]) for n in range(start, min(start + size, len(values)))]
        found = folding().fold(self.fold, records)
        assert not found.refused
        changes = self.fold.take_changes()
        self.cells |= {cell.experiment: cell for cell in changes.cells}
        self.segments |= {segment.key: segment for segment in changes.segments}
        for each in found.misplaced:
            assert each.partition != self.partition
            self.log[each.partition].append(encode_observation(each.observation))
        if crashes:
            self.restart()
            return
        for key in changes.forgotten:
            self.segments.pop(key, None)
        self.progress = changes.progress


@settings(max_examples=300, deadline=None)
@given(
    batches=st.lists(
        sent.map(lambda each: (*each[:2], each[2][:1] if each[1] == "single" else each[2])),
        min_size=1,
        max_size=12,
    ),
    steps=st.lists(
        st.tuples(st.integers(0, PARTITIONS - 1), st.integers(1, 6), st.booleans()), max_size=30
    ),
    by_columns=st.booleans(),
)
def test_each_event_counts_once_whatever_partition_it_was_put_into(batches, steps, by_columns):
    """With crashes between the copies and the progress, and in a replay of the whole log."""
    log: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for partition, kind, found in batches:
        log[partition].append(encoded(kind, found))
    workers = [Worker(log, partition) for partition in range(PARTITIONS)]
    with vectorized_from(1 if by_columns else ONE_BY_ONE):
        for partition, size, crashes in steps:
            workers[partition].step(size, crashes)
        while any(worker.fold.last_offset + 1 < len(log[worker.partition]) for worker in workers):
            for worker in workers:
                worker.step(100, False)
        replayed = []
        for partition, values in enumerate(log):
            fold = folding().new_fold(partition)
            folding().fold(fold, [Record(n, value) for n, value in enumerate(values)])
            replayed += fold.take_changes().cells

    live = [cell for worker in workers for cell in worker.fold.cells]
    assert totals(live) == truth(batches)
    assert totals(replayed) == truth(batches)
    by_place = {(cell.partition, cell.experiment): cell for cell in replayed}
    assert by_place == {(cell.partition, cell.experiment): cell for cell in live}


def test_the_copy_says_what_the_original_said():
    receipt = next(each for each in RECEIPTS if home(each) == 2)
    fold = folding().new_fold(0)
    named = encode_observation(Observation(receipt, "click", 5, "e", NOW_MS))
    bare = encode_observation(Observation(receipt, "click", 5))

    found = folding().fold(fold, [Record(8, named), Record(9, bare)])

    assert [(each.partition, each.origin, each.observation) for each in found.misplaced] == [
        (2, "observations:0:8:0", Observation(receipt, "click", 5, "e", NOW_MS)),
        (
            2,
            "observations:0:9:0",
            Observation(receipt, "click", 5, "observations:0:9:0", NOW_MS + 5),
        ),
    ]
    assert not found.refused
    assert not fold.take_changes().cells


def test_what_is_forged_is_refused_where_it_is():
    receipt = FORGER.sign(Receipt(7, 0, 1, 1, NOW_MS, 3, 600))
    elsewhere = next(n for n in range(PARTITIONS) if n != home(receipt))
    fold = folding().new_fold(elsewhere)

    found = folding().fold(fold, [Record(0, encode_observation(Observation(receipt, "m", 1)))])

    assert not found.misplaced
    [(_, [refusal])] = found.refused
    assert refusal.error.code == "FORGED_RECEIPT"


def test_the_members_of_an_apis_batch_that_belong_elsewhere_are_moved_once():
    batch = ObservationBatch([Observation(each, "click", MICRO) for each in RECEIPTS], 5, 0)
    value = sealer(KEYRING)("observations", 1, encode_observation_batch(batch))
    fold = folding().new_fold(1)

    first = folding().fold(fold, [Record(0, value)])
    again = folding().fold(fold, [Record(1, value)])

    away = [n for n, each in enumerate(RECEIPTS) if home(each) != 1]
    assert [each.origin for each in first.misplaced] == [f"observations:1:0:{n}" for n in away]
    assert (again.misplaced, again.refused, fold.duplicate_batches) == ([], [], 1)
    assert totals(fold.take_changes().cells).total() == (12 - len(away)) * (1 + MICRO)


def test_a_batch_whose_sequence_is_not_authentic_is_refused_and_touches_no_sequence():
    """Accepted batches cannot be skipped because of forged sequence numbers."""
    mine = [each for each in RECEIPTS if home(each) == 1]
    honest = [
        sealer(KEYRING)(
            "observations",
            1,
            encode_observation_batch(ObservationBatch([Observation(each, "click", MICRO)], 5, n)),
        )
        for n, each in enumerate(mine)
    ]
    empty = [encode_observation_batch(ObservationBatch([], 5, n)) for n in range(len(mine))]
    forged = [sealer(FORGER)("observations", 1, value) for value in empty]
    copied = [value[:-17] + honest[n][-17:] for n, value in enumerate(empty)]
    fold = folding().new_fold(1)

    values = [*empty, *forged, *copied, *honest]
    found = folding().fold(fold, [Record(n, value) for n, value in enumerate(values)])

    codes = [refusal.error.code for _, refusals in found.refused for refusal in refusals]
    assert codes == ["SEQUENCE_NOT_AUTHENTIC"] * 3 * len(mine)
    counted = totals(fold.take_changes().cells)
    assert sum(n for (_, what), n in counted.items() if what == "observations") == len(mine)
