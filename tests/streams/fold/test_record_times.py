"""Records of any Kafka timestamp: what follows from them can be written, and good ones count.

A sender chooses the timestamp of an observation. Kafka refuses one that is far ahead, the embedded
broker and Kafka before 3.6 do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.holdout_copies import copies_of
from streams.fold.observations import ObservationFolding
from streams.fold.records import FoldResult
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import EXPOSURE, Observation
from streams.model.quantities import MICRO
from streams.tallies.plan import Plan
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT, TIME_LIMIT_MS
from tests.streams.fold import test_holdout_copies as holdouts
from tests.streams.fold import test_voids as exposing
from tests.streams.fold.batches import ONE_BY_ONE, vectorized_from
from tests.streams.fold.test_misplaced import (
    NOW_MS,
    RECEIPTS,
    encoded,
    folding,
    home,
)

PARTITION = 0
WINDOW_MS = 600_000
"""Attribution window of the receipts."""

timestamps = st.one_of(
    st.integers(-1, 2**63 - 1),
    st.sampled_from([-1, 0, NOW_MS, TIME_LIMIT_MS - 1, TIME_LIMIT_MS, 2**63 - 1]),
)
records = st.tuples(
    st.sampled_from(RECEIPTS),
    st.sampled_from(["json", "single", "batch"]),
    st.sampled_from([None, NOW_MS + 3]),
    timestamps,
)


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    timestamp: int


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=40), st.sampled_from([1, ONE_BY_ONE]))
def test_what_follows_from_a_record_of_any_time_can_be_written(sent, count):
    with vectorized_from(count):
        log = [
            Record(n, encoded(kind, [Observation(receipt, "click", MICRO, f"{n}", at_ms)]), time_ms)
            for n, (receipt, kind, at_ms, time_ms) in enumerate(sent)
        ]
        fold = folding().new_fold(PARTITION)
        found = folding().fold(fold, log)
        cells = fold.take_changes().cells

    for each in found.misplaced:
        assert encode_observation(each.observation)
        assert each.timestamp_ms < TIME_LIMIT_MS
    for cell in cells:
        assert decode_cell(encode_cell(cell)) == cell
        # Nothing is observed before its assignment, and all of these were assigned at once.
        assert NOW_MS - CLOCK_SKEW_MS <= cell.first_at_ms <= cell.last_at_ms < TIME_LIMIT_MS
    assert _refused(found) == {
        n
        for n, (receipt, _, at_ms, time_ms) in enumerate(sent)
        if time_ms >= TIME_LIMIT_MS
        or (
            at_ms is None
            and not NOW_MS - CLOCK_SKEW_MS <= time_ms <= NOW_MS + WINDOW_MS
            and home(receipt) == PARTITION
        )
    }


def _refused(found: FoldResult) -> set[int]:
    assert {each.error.code for _, some in found.refused for each in some} <= {
        "OUT_OF_RANGE",
        "OBSERVED_BEFORE_ASSIGNMENT",
        "EXPIRED_RECEIPT",
    }
    return {index for index, _ in found.refused}


@pytest.mark.parametrize("record_ms", [-1, 0, NOW_MS // 1000, NOW_MS + 1_000])
def test_an_exposure_keeps_its_time_whatever_that_of_its_record(record_ms):
    """By hand: shown after 1 s, and clicked after 30 s, of the 60 s that a click has."""
    plan = Plan(
        declared=frozenset({"click"}), windows={"click": 60}, n_variants=2, by_exposure=True
    )
    text = exposing.KEYRING.sign(exposing.receipt_of(1))
    began_ms = exposing.receipt_of(1).assigned_at_ms
    log = [
        Record(n, encode_observation(Observation(text, metric, MICRO, None, began_ms + s)), at_ms)
        for n, (metric, s, at_ms) in enumerate(
            [(EXPOSURE, 1_000, record_ms), ("click", 30_000, began_ms + 30_000)]
        )
    ]
    stage = ObservationFolding(SINGLE_OBJECT, exposing.KEYRING, 1_000, lambda _: plan)
    fold = stage.new_fold(0)

    assert not stage.fold(fold, log).refused

    [cell] = fold.take_changes().cells
    assert (cell.late, cell.unexposed) == (0, 0)
    assert cell.first_at_ms == began_ms + 1_000
    [tally] = cell.variants.values()
    assert (tally.units, tally.metrics["click"].units) == (1, 1)


@pytest.mark.parametrize("at_ms", [TIME_LIMIT_MS, 2**62, 2**63 - 1])
def test_a_copy_for_a_holdout_of_a_record_of_any_time_can_be_written(at_ms):
    unit = holdouts.UNITS[0]
    click = Observation(holdouts.receipt(holdouts.EXPERIMENTS[0], unit), "click", MICRO)
    batch = [Record(0, encode_observation(click), at_ms), Record(1, encode_observation(click), 0)]
    holdouts.KEYRING.sign_with(holdouts.SPEC.number, 2)

    copies = copies_of(batch, 0, SINGLE_OBJECT, holdouts.KEYRING, holdouts.coverage())

    assert all(map(encode_observation, copies))
