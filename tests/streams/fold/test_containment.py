"""Whatever is raised while a record is decoded or folded, it is that record's error alone.

Exceptions are injected by what is in a record, so they are a function of the log, as those of a
record that breaks the code are. Then every way to cut the log into batches counts the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.fold import impressions, observation_records
from streams.fold.deduplication import DeduplicationWindow
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFold, ObservationFolding
from streams.fold.records import Folding
from streams.model import receipt_columns
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.tallies.builder import CellBuilder
from streams.tallies.plan import PLAIN, Plan, plain
from streams.wire.batch_tags import sealer
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import encode_observation, encode_observation_batch
from streams.wire.records import SINGLE_OBJECT

KEYRING = Keyring({1: bytes(range(16))})
NOW_MS = 1_700_000_000_000
LIMIT = 1_000

EXCEPTIONS = [
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    OverflowError("int too big to convert"),
    TypeError("unsupported operand"),
    KeyError("metric"),
    AssertionError(),
    ZeroDivisionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    np.exceptions.AxisError("axis 1 is out of bounds"),
    FloatingPointError(),
    StopIteration(),
    RuntimeError("\x1b[31m" * 1_000),
]
"""Among them values that Python treats specially."""


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = NOW_MS
    key: bytes | None = None


def receipt(unit: int, experiment: int = 1) -> str:
    return KEYRING.sign(Receipt(experiment, unit % 2, 1 << 31, 1, NOW_MS, unit, 0))


def seen(unit: int, value: int = 1_000_000, experiment: int = 1) -> Observation:
    return Observation(receipt(unit, experiment), "click", value, f"e{unit}", NOW_MS)


def assigned(unit: int, variant: int = 0) -> bytes:
    group = ImpressionGroup(1, True, [variant], [PROPENSITY_ONE // 2], [1], [NOW_MS], [unit])
    return batch(unit, [group])


def batch(sequence: int, groups: list[ImpressionGroup]) -> bytes:
    value = encode_impression_batch(ImpressionBatch(9, 0, sequence, groups))
    return sealer(KEYRING)("impressions", 0, value)


RECORDS = [Record(n, encode_observation(seen(n % 80), SINGLE_OBJECT)) for n in range(90)]


def state(fold: Any) -> Any:
    changes = fold.take_changes()
    return changes.cells, sorted(segment.body for segment in changes.segments), changes.progress


def codes(folded: Any) -> list[tuple[int, str, int]]:
    return [
        (index, each.error.code, each.index) for index, found in folded.refused for each in found
    ]


def cut(folding: Folding[Any], records: list[Record], cuts: list[int]) -> Any:
    """Fold records in batches, and return the state, and what was refused by offset."""
    fold = folding.new_fold(0)
    refused = []
    for begin, end in pairwise([0, *sorted(cuts), len(records)]):
        batch = records[begin:end]
        found = codes(folding.fold(fold, batch)) if batch else []
        refused += [(batch[index].offset, code, event) for index, code, event in found]
    return state(fold), sorted(refused)


def raising(error: Exception, when: Callable[..., bool], then: Callable[..., Any]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        if when(*args):
            raise error
        return then(*args, **options)

    return call


every_error = pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
steady = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
cutting = st.lists(st.integers(0, 90), max_size=4)


@every_error
@pytest.mark.parametrize("decode", ["decode_observations", "read_plain_observations"])
def test_a_record_that_breaks_its_decoder_costs_no_other_one(monkeypatch, error, decode):
    bad = encode_observation(seen(40), SINGLE_OBJECT)
    records = [Record(n, encode_observation(seen(n), SINGLE_OBJECT)) for n in range(90)]
    records[50] = Record(50, bad + b"trailing" if decode == "decode_observations" else b"{")
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    monkeypatch.setattr(
        observation_records,
        decode,
        raising(
            error,
            lambda value, *_: value == records[50].value if isinstance(value, bytes) else True,
            getattr(observation_records, decode),
        ),
    )
    fold = folding.new_fold(0)

    folded = folding.fold(fold, records)

    assert folded.events == 90
    assert [(index, each[0].error.code) for index, each in folded.refused] in (
        [(50, "UNDECODABLE_RECORD")],
        [(50, "INVALID_JSON")],
    )
    assert fold.last_offset == 89
    [cell], _, _ = state(fold)
    assert sum(tally.metrics["click"].units for tally in cell.variants.values()) == 89


@every_error
def test_an_impression_that_breaks_its_decoder_costs_no_other_one(monkeypatch, error):
    records = [Record(n, assigned(n)) for n in range(9)]
    monkeypatch.setattr(
        impressions,
        "decode_impression_batch",
        raising(error, lambda value, _: value == records[4].value, decode_impression_batch),
    )
    folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    fold = folding.new_fold(0)

    folded = folding.fold(fold, records)

    assert codes(folded) == [(4, "UNDECODABLE_RECORD", 0)]
    [cell], _, _ = state(fold)
    assert cell.variants[0].units == 8


@pytest.mark.parametrize("place", ["observe", "builder", "open"])
@steady
@given(error=st.sampled_from(EXCEPTIONS), cuts=cutting)
def test_an_observation_that_breaks_its_fold_counts_the_same_in_any_batches(place, error, cuts):
    records = list(RECORDS)
    records[30] = Record(
        30, encode_observation_batch(ObservationBatch([seen(200), seen(666, 13), seen(201)]))
    )
    records[31] = Record(31, encode_observation(seen(667, 13), SINGLE_OBJECT))
    with pytest.MonkeyPatch.context() as patch:
        if place == "open":
            bad = {receipt(666), receipt(667)}
            patch.setattr(
                Keyring, "open", raising(error, lambda _, text: text in bad, Keyring.open)
            )
            open_columns = receipt_columns.open_columns
            patch.setattr(
                receipt_columns,
                "open_columns",
                raising(
                    error,
                    lambda _, texts: any(row.tobytes().decode() in bad for row in texts),
                    open_columns,
                ),
            )
        else:
            name, target, at = (
                ("observe", DeduplicationWindow, 5)
                if place == "observe"
                else ("add_value", CellBuilder, 4)
            )
            then = getattr(target, name)
            patch.setattr(target, name, raising(error, lambda *args: args[at] == 13, then))
            together = CellBuilder.add_first_values
            patch.setattr(
                CellBuilder,
                "add_first_values",
                raising(error, lambda *args: 13 in args[3], together),
            )
        folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
        found, refused = cut(folding, records, cuts)
        expected, expected_refused = cut(folding, records, [30, 32, 60])

    assert found == expected
    assert refused == expected_refused == [(30, "FOLD_FAILED", 1), (31, "FOLD_FAILED", 0)]
    [cell] = found[0]
    assert sum(tally.metrics["click"].units for tally in cell.variants.values()) == 80


@steady
@given(error=st.sampled_from(EXCEPTIONS), cuts=cutting)
def test_an_impression_that_breaks_its_fold_counts_the_same_in_any_batches(error, cuts):
    records = [Record(n, assigned(n, variant=7 if n == 40 else 0)) for n in range(90)]
    folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            CellBuilder,
            "add_chances",
            raising(
                error,
                lambda *args: (7, PROPENSITY_ONE // 2, b"") in args[2],
                CellBuilder.add_chances,
            ),
        )
        found, refused = cut(folding, records, cuts)

    assert refused == [(40, "FOLD_FAILED", 0)]
    [cell] = found[0]
    assert {index: tally.units for index, tally in cell.variants.items()} == {0: 89}


def test_a_plan_that_is_missing_is_no_error_of_a_record():
    plans: dict[int, Plan] = {1: PLAIN}
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plans.get)
    values = [encode_observation(seen(n, experiment=1 + n // 60), SINGLE_OBJECT) for n in range(90)]
    fold = folding.new_fold(0)

    folded = folding.fold(fold, [Record(n, value) for n, value in enumerate(values)])

    assert (folded.awaits, folded.refused, fold.last_offset) == (2, [], 59)


@every_error
def test_columns_that_cannot_be_counted_are_counted_one_by_one(monkeypatch, error):
    records = [Record(n, encode_observation(seen(n), SINGLE_OBJECT)) for n in range(90)]
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    expected = cut(folding, records, [])
    monkeypatch.setattr(
        ObservationFold,
        "fold",
        raising(error, lambda _, read: len(read.offsets) > 1, ObservationFold.fold),
    )

    assert cut(folding, records, []) == expected


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "UNDECODABLE_RECORD"),
        (b"", "UNDECODABLE_RECORD"),
        (b"[]", "EMPTY_RECORD"),
        (encode_observation_batch(ObservationBatch([])), "EMPTY_RECORD"),
        (b"\xc3\x01" + bytes(17 * 2**20), "RECORD_TOO_LARGE"),
        (b"[" + b"0," * 3_000_000 + b"0]", "RECORD_TOO_LARGE"),
        (b"[" * 100_000, "INVALID_JSON"),
        (b'{"assignmentId":"\xed\xa0\x80","metric":"m","value":1}', "INVALID_JSON"),
        (b'{"assignmentId":"a","metric":"m","value":1' + b"0" * 5_000 + b"}", "INVALID_JSON"),
        (
            b'{"assignmentId":"a","metric":"m","value":123456789012345678901234}',
            "VALUE_OUT_OF_RANGE",
        ),
    ],
)
def test_odd_records_are_refused_among_good_ones(value, code):
    records = list(RECORDS)
    records[45] = Record(45, value)
    for length in (90, 10):
        folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
        fold = folding.new_fold(0)

        folded = folding.fold(fold, records[40 : 40 + length])

        assert codes(folded) == [(5, code, 0)]


def test_empty_and_oversized_impressions_are_refused():
    folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    empty = batch(0, [])
    records = [Record(0, empty), Record(1, None), Record(2, empty[:10] + bytes(2**21))]

    folded = folding.fold(folding.new_fold(0), records)

    assert [code for _, code, _ in codes(folded)] == [
        "EMPTY_RECORD",
        "UNDECODABLE_RECORD",
        "RECORD_TOO_LARGE",
    ]


@given(
    wrong=st.lists(st.sampled_from([b"0", b"{}", b'{"x":1}']), min_size=1, max_size=60),
    pauses=st.lists(st.booleans(), min_size=80, max_size=80),
)
@settings(deadline=None)
def test_refusals_of_one_record_are_one_for_each_code_with_all_their_places(wrong, pauses):
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    code_of = {b"0": "WRONG_TYPE", b"{}": "MISSING_FIELD", b'{"x":1}': "UNKNOWN_FIELD"}

    folded = folding.fold(folding.new_fold(0), [Record(0, b"[" + b",".join(wrong) + b"]")])

    [(_, refusals)] = folded.refused
    places = {
        each.error.code: [
            index
            for first, last in each.ranges or [(each.index, each.index)]
            for index in range(first, last + 1)
        ]
        for each in refusals
    }
    expected: dict[str, list[int]] = {}
    for index, member in enumerate(wrong):
        expected.setdefault(code_of[member], []).append(index)
    assert places == expected
    assert [each.count for each in refusals] == [len(places[each.error.code]) for each in refusals]
    assert folded.events == len(wrong)


@given(pauses=st.lists(st.booleans(), max_size=200), bad=st.sets(st.integers(0, 89)))
@settings(deadline=None, max_examples=30)
def test_pauses_change_nothing_of_what_is_counted(pauses, bad):
    records = [
        Record(n, b"[0,0]" if n in bad else encode_observation(seen(n), SINGLE_OBJECT))
        for n in range(90)
    ]
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
    due = iter(pauses)
    fold = folding.new_fold(0)
    left, events, refused = records, 0, 0
    while left:
        folded = folding.fold(fold, left, lambda: next(due, False))
        events += folded.events
        refused += sum(each.count for _, found in folded.refused for each in found)
        assert folded.is_paused == (fold.last_offset < 89)
        left = [record for record in left if record.offset > fold.last_offset]

    assert (events, refused) == (90 + len(bad), 2 * len(bad))
    assert state(fold) == cut(folding, records, [])[0]
