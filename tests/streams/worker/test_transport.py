"""Batches are bounded, contiguous and lose no record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.worker import transport
from streams.worker.transport import (
    BUSY_FETCH_WAIT_MS,
    FETCH_WAIT_MS,
    FetchBatch,
    FetchWait,
    before,
    joined,
    split,
)


@dataclass(frozen=True)
class Record:
    """Fields that the transport reads of aiokafka's record."""

    offset: int
    value: bytes | None


def records(steps: list[int], sizes: list[int]) -> list[Any]:
    offset, made = 10, []
    for step, size in zip(steps, sizes, strict=False):
        offset += step
        made.append(Record(offset, b"x" * size))
    return cast(list[Any], made)


def test_a_batch_is_cut_at_the_bound_of_records(monkeypatch):
    monkeypatch.setattr(transport, "MAX_BATCH_RECORDS", 2)

    batches = list(split(10, records([1] * 5, [1] * 5)))

    assert [(batch.begin, batch.end, len(batch.records)) for batch in batches] == [
        (10, 13, 2),
        (13, 15, 2),
        (15, 16, 1),
    ]


def test_a_record_above_the_bound_of_bytes_is_a_separate_batch(monkeypatch):
    monkeypatch.setattr(transport, "MAX_BATCH_BYTES", 10)

    batches = list(split(11, records([1] * 4, [4, 30, 4, 4])))

    assert [[record.offset for record in batch.records] for batch in batches] == [
        [11],
        [12],
        [13, 14],
    ]


def test_batches_that_wait_together_are_one_and_hold_every_record_once():
    ten = records([1] * 10, [1] * 10)  # offsets 11 to 20
    waiting = [
        FetchBatch(11, ten[:4], 4),
        FetchBatch(11, ten[:6], 6),
        FetchBatch(17, ten[6:], 4),
    ]

    batch = joined(waiting)

    assert (batch.begin, batch.records) == (11, ten)


def test_a_hole_between_waiting_batches_is_not_passed_over():
    ten = records([1] * 10, [1] * 10)

    with pytest.raises(ValueError, match=r"\[15, 16\)"):
        joined([FetchBatch(11, ten[:4], 4), FetchBatch(16, ten[5:], 5)])


@given(
    steps=st.lists(st.integers(1, 3), min_size=1, max_size=50),
    sizes=st.lists(st.integers(0, 2**21), min_size=50, max_size=50),
)
def test_batches_follow_each_other_and_hold_every_record(steps, sizes):
    fetched = records(steps, [size // 100_000 * 100_000 for size in sizes])

    batches: list[FetchBatch] = list(split(10, fetched))

    assert [record for batch in batches for record in batch.records] == fetched
    assert [batch.begin for batch in batches] == [10, *(batch.end for batch in batches[:-1])]
    assert all(len(batch.records) <= transport.MAX_BATCH_RECORDS for batch in batches)


def test_nothing_fetched_is_no_batch():
    assert list(split(10, [])) == []


@given(
    steps=st.lists(st.integers(1, 3), max_size=20),
    fence=st.none() | st.integers(0, 80),
)
def test_nothing_from_a_fence_on_is_taken_and_nothing_before_it_is_left(steps, fence):
    fetched = records(steps, [1] * len(steps))

    taken = before(fence, fetched)

    assert taken == [each for each in fetched if fence is None or each.offset < fence]


def test_only_records_before_a_fence_are_already_published():
    ten = records([1] * 10, [1] * 10)

    (published,) = split(11, ten[:5], already_published=True)
    (new,) = split(16, ten[5:])

    assert joined([published, published]).already_published
    assert not joined([published, new]).already_published  # twice is harmless, never is a loss


def test_a_fetch_is_held_for_less_while_records_come():
    """Until a second after the last records, and long before the first."""
    now_s = [50.0]
    wait = FetchWait(lambda: now_s[0])
    assert wait.after_fetch(has_records=False) == FETCH_WAIT_MS
    assert wait.after_fetch(has_records=True) == BUSY_FETCH_WAIT_MS
    now_s[0] += 0.9
    assert wait.after_fetch(has_records=False) == BUSY_FETCH_WAIT_MS
    assert wait.after_fetch(has_records=True) == BUSY_FETCH_WAIT_MS
    now_s[0] += 0.9
    assert wait.after_fetch(has_records=False) == BUSY_FETCH_WAIT_MS
    now_s[0] += 0.2
    assert wait.after_fetch(has_records=False) == FETCH_WAIT_MS
