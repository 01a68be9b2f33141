"""Records folded together against records folded one by one: the same state and refusals."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import library
from schemas.codec import Codec
from streams.fold import counting, metric_slots
from streams.fold import deduplication as remembered
from streams.fold.observations import ObservationFolding
from streams.fold.segments import Piece
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import Observation, ObservationBatch
from streams.model.quantities import MICRO, VALUE_LIMIT
from streams.model.receipts import Keyring, Receipt
from streams.tallies.plan import PLAIN, AcceptedValues, PeriodPlan, Plan, plain
from streams.wire.observations import encode_observation, encode_observation_batch
from streams.wire.plain_observations import read_plain_observations
from streams.wire.records import SINGLE_OBJECT, TIME_LIMIT_MS
from tests.streams.fold.batches import ONE_BY_ONE, vectorized_from

SECRET, OTHER = bytes(range(16)), bytes(range(1, 17))
KEYRING = Keyring({1: SECRET, 2: OTHER})
STRANGER = Keyring({3: SECRET})
FORGER = Keyring({1: OTHER})
NOW_MS = 1_700_000_000_000
PLAN = Plan({"click": 200, "m" * 63: 1}, (("click", "m" * 63),))


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = NOW_MS


def value_of(
    unit=1,
    *,
    keyring=KEYRING,
    event="e",
    metric="click",
    value=1_000_000,
    at=0,
    window=60,
    features=b"",
):
    receipt = Receipt(unit % 3, unit % 2, 1 << 31, 1, NOW_MS, unit, window)
    observed = None if at is None else NOW_MS + at
    return encode_observation(
        Observation(
            keyring.sign(receipt._replace(features=features)), metric, value, event, observed
        ),
        SINGLE_OBJECT,
    )


def changed(value: bytes, at: int, byte: int) -> bytes:
    at %= len(value)
    return value[:at] + bytes([byte]) + value[at + 1 :]


units = st.integers(0, 12)
good = st.builds(
    value_of,
    units,
    keyring=st.sampled_from([KEYRING, KEYRING, KEYRING, Keyring({2: OTHER}), STRANGER, FORGER]),
    event=st.sampled_from([None, "a", "b", "é", "x" * 63, "x" * 64, "x" * 200]),
    metric=st.sampled_from(["click", "m" * 63, "m" * 64]),
    value=st.integers(-(10**14), 10**14) | st.integers(-300, 300),
    at=st.sampled_from([None, 0, 1, 59_999, 60_000, 60_001, -300_000, -300_001, -NOW_MS, 10**10]),
    window=st.sampled_from([0, 60]),
    # Of a contextual experiment: two vectors, and an invalid one.
    features=st.sampled_from([b"", b"", b"\1\4\0", b"\2\xfe\0\5\0\1", b"\0\0\0"]),
)
mutated = st.builds(changed, good, st.integers(0, 200), st.integers(0, 255))
cut = st.builds(lambda value, size: value[:size], good, st.integers(0, 200))
longer = st.builds(lambda value, more: value + more, good, st.binary(max_size=12))
batches = st.builds(
    lambda unit: encode_observation_batch(
        ObservationBatch([Observation(KEYRING.sign(Receipt(1, 1, 9, 1, NOW_MS, unit, 0)), "m", 5)])
    ),
    units,
)
usual = st.builds(
    value_of,
    units,
    event=st.sampled_from([None, "a", "b"]),
    metric=st.sampled_from([*["click", "m" * 63] * 4, "$void.bot", "$void.ivt"]),
    value=st.integers(-300, 300) | st.just(MICRO),
    window=st.sampled_from([0, 60]),
)
values = st.one_of(
    usual,
    usual,
    usual,
    usual,
    usual,
    usual,
    good,
    good,
    good,
    mutated,
    cut,
    longer,
    batches,
    st.binary(max_size=150),
    st.none(),
)


def outcome(batches_of_records, limit, plans, known, partitions, *, takes=True):
    """Return the result of every step, with plans learned when they are asked for."""
    learned = {experiment: plans[experiment] for experiment in known}
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, limit, learned.get, partitions)
    fold = folding.new_fold(0)
    results = []
    for records in batches_of_records:
        rest = records
        while True:
            folded = folding.fold(fold, rest)
            refused = [
                (rest[place].offset, [(refusal.index, repr(refusal.error)) for refusal in refusals])
                for place, refusals in folded.refused
            ]
            results.append(
                (folded.events, refused, folded.misplaced, folded.awaits, fold.last_offset)
            )
            if takes:
                results.append(meaning(fold.take_changes()))
            if folded.awaits is None:
                break
            assert folded.awaits not in learned
            learned[folded.awaits] = plans[folded.awaits]
            rest = [record for record in rest if record.offset > fold.last_offset]
    changes = meaning(fold.take_changes())
    return [*results, changes, sorted(fold.cells, key=lambda cell: cell.experiment)]


def meaning(changes):
    """Return changes with what segments say: the order of their entries says nothing."""
    segments = tuple(
        (each.key, each.last_offset, Piece.unpack(each.body)) for each in changes.segments
    )
    return replace(changes, segments=segments)


BOUNDED = Plan(
    {"click": 100},
    floors={"click": 0, "m" * 63: 0},
    accepted={"click": AcceptedValues(0, 10**6), "m" * 63: AcceptedValues(most=200)},
    declared=frozenset({"click"}),
)
plans = st.fixed_dictionaries(
    {
        experiment: st.sampled_from(
            [
                PLAIN,
                PLAN,
                Plan(PLAN.caps),
                Plan(by_period=PeriodPlan("click", 1)),
                BOUNDED,
                replace(BOUNDED, windows={"click": 60, "m" * 63: 3_600}),
            ]
        )
        for experiment in range(3)
    }
)


@pytest.mark.parametrize("limit", [1_000, 12, 3])
@settings(max_examples=400, deadline=None)
@given(
    stream=st.lists(values, min_size=1, max_size=40) | st.lists(usual, min_size=8, max_size=40),
    cuts=st.integers(1, 6) | st.integers(1, 40),
    again=st.booleans(),
    plans=plans,
    known=st.sets(st.integers(0, 2)),
    takes=st.booleans(),
    partitions=st.sampled_from([None, 1, 2, 3]),
    is_strict=st.booleans(),
)
def test_together_gives_the_state_and_the_refusals_of_one_by_one(
    limit, stream, cuts, again, plans, known, takes, partitions, is_strict
):
    """Also where plans are missing: the same is awaited, with the same counted before."""
    records = [Record(3 * offset, value) for offset, value in enumerate(stream)]
    batches = [records[i : i + cuts] for i in range(0, len(records), cuts)]
    if again:
        batches.append(records)  # all of them at or below the last offset
    found = []
    for count, cut in ((1, batches), (ONE_BY_ONE, batches)):
        with vectorized_from(count) as patch:
            if is_strict:
                patch.setattr(metric_slots, "MAX_OPENED", 1)
                patch.setattr(counting, "MAX_EVENTS", 2)
                patch.setattr(remembered, "MAX_EVENTS", 2)
            found.append(outcome(cut, limit, plans, known, partitions, takes=takes))
    assert found[0] == found[1]


@pytest.mark.parametrize("by_columns", [True, False])
def test_an_observation_of_a_time_to_come_moves_no_clock(by_columns):
    """It counts, at the latest time that clocks allow."""
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 1_000, plain)
    fold = folding.new_fold(0)
    records = [Record(n, value_of(3 * n, at=10**10, window=0)) for n in range(100)]

    size = len(records) if by_columns else 1  # few records are folded one by one
    for start in range(0, len(records), size):
        assert not folding.fold(fold, records[start : start + size]).refused

    (cell,) = fold.take_changes().cells
    assert (cell.first_at_ms, cell.last_at_ms) == (NOW_MS + CLOCK_SKEW_MS,) * 2


def test_usual_records_are_plain_and_what_is_refused_is_not():
    usual = [
        value_of(),
        value_of(event=None),
        value_of(at=None),
        value_of(value=-(10**15)),
        value_of(features=b"\1\4\0"),
    ]
    unusual = [
        value_of(features=b"\1\4\0" * 16),
        value_of(event="é"),
        value_of(metric="m" * 64),
        value_of()[:-1],
        value_of() + b"\0",
    ]

    assert read_plain_observations(usual)[1].all()
    assert not read_plain_observations([*unusual, b"", None])[1].any()


def test_records_with_a_registry_id_are_read_the_general_way():
    codec = Codec()
    codec.use_id(library.current("observation"), 7)
    observation = Observation(KEYRING.sign(Receipt(1, 0, 1 << 31, 1, NOW_MS, 1, 60)), "click", 5)
    records = [Record(offset, encode_observation(observation, codec)) for offset in range(100)]
    folding = ObservationFolding(codec, KEYRING, 1_000, plain)
    fold = folding.new_fold(0)

    assert not folding.fold(fold, records).refused
    (cell,) = fold.take_changes().cells
    assert cell.variants[0].metrics["click"].observations == 100


def raw(**fields):
    """Encode an observation without checking its bounds."""
    receipt = KEYRING.sign(Receipt(1, 0, 1 << 31, 1, NOW_MS, 1, 0))
    usual = {
        "assignment_id": receipt,
        "metric": "click",
        "value_micros": 5,
        "event_id": "e",
        "observed_at_ms": NOW_MS,
    }
    return SINGLE_OBJECT.encode("observation", usual | fields)


def respelled():
    """Return a receipt whose last character has other bits where zeros must be."""
    receipt = KEYRING.sign(Receipt(1, 0, 1 << 31, 1, NOW_MS, 1, 0))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return receipt[:-1] + alphabet[alphabet.index(receipt[-1]) + 1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"assignment_id": respelled()}, "MALFORMED_RECEIPT"),
        ({"assignment_id": "+" * 75}, "MALFORMED_RECEIPT"),
        ({"assignment_id": "A" * 75}, "UNKNOWN_RECEIPT_VERSION"),
        ({"metric": ""}, "INVALID_NAME"),
        ({"metric": "1"}, "INVALID_NAME"),
        ({"value_micros": VALUE_LIMIT * MICRO + 1}, "VALUE_OUT_OF_RANGE"),
        ({"value_micros": -VALUE_LIMIT * MICRO - 1}, "VALUE_OUT_OF_RANGE"),
        ({"event_id": ""}, "OUT_OF_RANGE"),
        ({"observed_at_ms": -1}, "OUT_OF_RANGE"),
        ({"observed_at_ms": TIME_LIMIT_MS}, "OUT_OF_RANGE"),
        ({"observed_at_ms": NOW_MS - CLOCK_SKEW_MS - 1}, "OBSERVED_BEFORE_ASSIGNMENT"),
    ],
)
def test_one_that_is_refused_is_refused_among_many_good_ones(fields, code):
    stream = [value_of(unit) for unit in range(100)]
    stream[50] = raw(**fields)
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 1_000, plain)
    fold = folding.new_fold(0)

    folded = folding.fold(fold, [Record(offset, value) for offset, value in enumerate(stream)])

    assert folded.events == 100
    ((place, (refusal,)),) = folded.refused
    assert (place, refusal.error.code) == (50, code)
    cells = fold.take_changes().cells
    assert sum(t.metrics["click"].observations for c in cells for t in c.variants.values()) == 99


@pytest.mark.parametrize("by_columns", [True, False])
@settings(max_examples=50, deadline=None)
@given(stream=st.lists(values, min_size=1, max_size=30), plans=plans)
def test_a_plan_learned_in_mid_batch_gives_what_a_known_one_does(by_columns, stream, plans):
    records = [Record(offset, value) for offset, value in enumerate(stream)]
    with vectorized_from(1 if by_columns else ONE_BY_ONE):
        (events, refused, misplaced, awaits, last_offset), *known = outcome(
            [records], 1_000, plans, plans, 2, takes=False
        )
        *steps, changes, cells = outcome([records], 1_000, plans, (), 2, takes=False)

    assert awaits is None
    assert [changes, cells] == known
    assert sum(step[0] for step in steps) == events
    assert [each for step in steps for each in step[1]] == refused
    assert [each for step in steps for each in step[2]] == misplaced
    assert steps[-1][3:] == (None, last_offset)


@pytest.mark.parametrize("by_columns", [True, False])
def test_a_clock_five_minutes_ahead_has_no_honest_click_refused(by_columns):
    """Kafka takes no record further ahead, so the horizon never passes the broker's clock."""
    window_s, ahead_ms = 900, CLOCK_SKEW_MS
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 10_000, plain)
    fold = folding.new_fold(0)

    def click(unit, assigned_ms, at_ms):
        receipt = KEYRING.sign(Receipt(1, 0, 1 << 31, 1, assigned_ms, unit, window_s))
        return encode_observation(Observation(receipt, "click", MICRO, "e", at_ms), SINGLE_OBJECT)

    # An API ahead assigns in the future; its records are ahead by what Kafka takes.
    early = [
        Record(n, click(n, NOW_MS + 3_000_000, NOW_MS + 3_000_000), NOW_MS + ahead_ms)
        for n in range(100)
    ]
    # Honest clicks come within the attribution window of their assignment.
    honest = [
        Record(100 + n, click(1_000 + n, NOW_MS - 9_000 * n, NOW_MS), NOW_MS) for n in range(100)
    ]
    refused = []
    for records in (early, honest):
        size = len(records) if by_columns else 1
        for start in range(0, len(records), size):
            refused += folding.fold(fold, records[start : start + size]).refused
    assert not refused
