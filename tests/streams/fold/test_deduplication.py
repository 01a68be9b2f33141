import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.fold import segments
from streams.fold.buckets import NO_DEADLINE
from streams.fold.deduplication import (
    SEEN,
    UNIT_TOTAL_LIMIT,
    AssignmentNovelty,
    DeduplicationWindow,
)
from streams.fold.hashing import KEY_MASK, hash_of
from streams.fold.segments import MAX_ENTRIES, Piece, WindowSegment, chunks
from streams.fold.window_memory import WindowFullError
from streams.model.errors import EventError
from streams.model.quantities import MICRO
from streams.tallies.plan import MAX_EVENTS

NEW, CROSSED, REPEATED = (
    AssignmentNovelty.NEW,
    AssignmentNovelty.CROSSED,
    AssignmentNovelty.DUPLICATE,
)
DAY_S = 86_400
HOUR_MS = 3_600_000
FAR = 1 << 47
"""A log that has reached any time, so that assignments are believed."""


def observe(window, at_ms, unit, event=0, value=1, window_s=DAY_S, now_ms=FAR):
    try:
        return window.observe(at_ms, window_s, unit, event, value, now_ms)
    except EventError as error:
        return error.code


def restored(segments_by_key, limit=100):
    window = DeduplicationWindow(1, limit)
    window.restore([(segment, Piece.unpack(segment.body)) for segment in segments_by_key.values()])
    return window


def test_a_unit_adds_up_and_every_event_counts_once():
    window = DeduplicationWindow(1, 100)

    answers = [
        observe(window, 0, unit=8, event=5, value=10),
        observe(window, 0, unit=8, event=5, value=10),
        observe(window, 0, unit=8, event=6, value=-3),
        observe(window, 0, unit=8, event=6, value=-3),
        observe(window, 0, unit=8, event=5, value=10),
        observe(window, 0, unit=8, value=1),
        observe(window, 0, unit=8, value=1),
        observe(window, 0, unit=8, event=7),
    ]

    assert answers == [None, SEEN, 10, SEEN, SEEN, 7, 8, 9]


def test_an_event_after_one_without_id_is_remembered_too():
    window = DeduplicationWindow(1, 100)

    answers = [
        observe(window, 0, unit=8, value=4),
        observe(window, 0, unit=8, event=5),
        observe(window, 0, unit=8, event=5),
    ]

    assert answers == [None, 4, SEEN]


def test_an_entry_is_kept_as_long_as_its_assignment_can_be_observed():
    window = DeduplicationWindow(1, 100)
    observe(window, 0, unit=1, event=1)

    observe(window, 27 * HOUR_MS - 1, unit=2)
    assert observe(window, 0, unit=1, event=1) is SEEN

    observe(window, 27 * HOUR_MS, unit=3)
    assert observe(window, 0, unit=1, event=1) == "DEDUPLICATION_WINDOW_PASSED"
    assert observe(window, 3 * HOUR_MS, unit=4) is None


def test_without_an_attribution_window_nothing_is_forgotten():
    window = DeduplicationWindow(1, 100)
    observe(window, 0, unit=1, event=1, window_s=0)
    observe(window, 1 << 46, unit=2)

    assert observe(window, 0, unit=1, event=1, window_s=0) is SEEN


def test_an_assignment_from_the_future_lets_nothing_be_forgotten():
    window = DeduplicationWindow(1, 100)
    observe(window, 0, unit=1, event=1)

    observe(window, 1 << 46, unit=2, now_ms=HOUR_MS)

    assert observe(window, 0, unit=1, event=1) is SEEN
    assert window.horizon == HOUR_MS


def test_a_full_window_forgets_its_oldest_bucket_and_refuses_it_from_then_on():
    window = DeduplicationWindow(1, 3)
    for hour in (0, 1, 6):
        observe(window, hour * HOUR_MS, unit=hour + 1, event=1)

    assert observe(window, 12 * HOUR_MS, unit=20) is None
    assert observe(window, 2 * HOUR_MS, unit=1, event=1) == "DEDUPLICATION_WINDOW_PASSED"
    assert observe(window, 6 * HOUR_MS, unit=7, event=1) is SEEN


def test_a_further_event_of_a_unit_makes_room_as_well():
    window = DeduplicationWindow(1, 2)
    observe(window, 0, unit=1, event=1)
    observe(window, 6 * HOUR_MS, unit=2, event=1)

    assert observe(window, 6 * HOUR_MS, unit=2, event=9) == 1
    assert list(window.buckets) == [33 * HOUR_MS]


def test_what_is_newer_never_makes_room_for_what_is_older():
    window = DeduplicationWindow(1, 2)
    for unit in (1, 2):
        observe(window, 6 * HOUR_MS, unit=unit, event=1)

    assert observe(window, 6 * HOUR_MS, unit=3) == "DEDUPLICATION_WINDOW_FULL"
    assert observe(window, 0, unit=4) == "DEDUPLICATION_WINDOW_FULL"
    assert observe(window, 6 * HOUR_MS, unit=1, event=5) == "DEDUPLICATION_WINDOW_FULL"
    assert observe(window, 6 * HOUR_MS, unit=1, event=1) is SEEN
    assert observe(window, 6 * HOUR_MS, unit=1, value=3) == 1
    assert list(window.buckets) == [33 * HOUR_MS]


def test_a_unit_has_a_bound():
    window = DeduplicationWindow(1, 10)
    observe(window, 0, unit=1, value=UNIT_TOTAL_LIMIT)

    assert observe(window, 0, unit=1, event=3, value=1) == "UNIT_TOTAL_OUT_OF_RANGE"
    assert observe(window, 0, unit=1, event=3, value=-2 * UNIT_TOTAL_LIMIT) == UNIT_TOTAL_LIMIT
    assert observe(window, 0, unit=1, value=-1) == "UNIT_TOTAL_OUT_OF_RANGE"
    taken, _ = window.take(1)
    assert restored({segment.key: segment for segment in taken}).buckets == window.buckets


def test_assignments_are_admitted_once_until_the_window_is_full():
    window = DeduplicationWindow(1, 2)

    assert [window.admit(unit, 0, 2) for unit in (1, 2, 1)] == [NEW, NEW, REPEATED]
    with pytest.raises(WindowFullError) as caught:
        window.admit(3, 0, 2)
    assert caught.value.code == "DEDUPLICATION_WINDOW_FULL"
    assert set(window.buckets) == {NO_DEADLINE}


def test_a_unit_in_a_second_variant_is_found_once():
    window = DeduplicationWindow(1, 10)

    answers = [
        window.admit(8, 0, 3),
        window.admit(8, 0, 3),
        window.admit(8, 1, 3),
        window.admit(8, 1, 3),
        window.admit(8, 2, 3),
        window.admit(9, 0, 3),
        window.admit(9, 4, 3),  # another phase of the experiment
        window.admit(9, 4, 3),
    ]

    assert answers == [NEW, REPEATED, CROSSED, REPEATED, NEW, NEW, NEW, REPEATED]


def test_a_unit_has_so_many_events_and_leaves_the_memory_to_others():
    window = DeduplicationWindow(1, 10 * MAX_EVENTS)
    for event in range(1, MAX_EVENTS + 1):
        assert observe(window, 0, unit=1 << 40, event=event) == (event - 1 or None)
    assert window.events == MAX_EVENTS
    size = sum(map(len, window.buckets.values()))

    assert observe(window, 0, unit=1 << 40, event=MAX_EVENTS + 1) == "TOO_MANY_EVENTS"
    assert observe(window, 0, unit=1 << 40) == "TOO_MANY_EVENTS"
    assert observe(window, 0, unit=1 << 40, event=7) is SEEN
    assert observe(window, 0, unit=1 << 41, event=7) is None
    assert sum(map(len, window.buckets.values())) == size + 1
    taken, _ = window.take(1)
    again = restored({segment.key: segment for segment in taken})
    assert observe(again, 0, unit=1 << 40, event=MAX_EVENTS + 1) == "TOO_MANY_EVENTS"


def test_what_lack_of_room_has_forgotten_is_known_as_such_also_after_a_restart():
    window = DeduplicationWindow(1, 3)
    for hour in (0, 1, 6):
        observe(window, hour * HOUR_MS, unit=hour + 1, event=1)
    observe(window, 12 * HOUR_MS, unit=20)
    taken, _ = window.take(1)

    for each in (window, restored({segment.key: segment for segment in taken})):
        with pytest.raises(WindowFullError) as caught:
            each.observe(2 * HOUR_MS, DAY_S, 1, 1, 1, FAR)
        assert caught.value.code == "DEDUPLICATION_WINDOW_PASSED"


def test_segments_are_in_order_of_their_deadlines():
    """The order in which buckets are opened depends on how many records are folded together."""
    hours = (0, 6, 12)
    taken = []
    for order in itertools.permutations(hours):
        window = DeduplicationWindow(1, 100)
        for hour in order:
            observe(window, hour * HOUR_MS, unit=hour + 1)
        window.mark(7, 1)
        taken.append([segment.key for segment in window.take(1)[0]])

    assert len(taken[0]) == len(hours) + 1
    assert all(keys == taken[0] for keys in taken)


def test_what_time_has_forgotten_is_no_lack_of_room():
    window = DeduplicationWindow(1, 100)
    observe(window, 0, unit=1, event=1)
    observe(window, 27 * HOUR_MS, unit=3)

    with pytest.raises(EventError) as caught:
        window.observe(0, DAY_S, 1, 1, 1, FAR)
    assert not isinstance(caught.value, WindowFullError)


entries = st.dictionaries(
    st.integers(0, KEY_MASK), st.just(0) | st.integers(-(1 << 126), (1 << 126))
)


@given(entries, st.integers(-1, (1 << 63) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, 9))
def test_a_piece_is_read_as_it_was_packed(some, time_ms, experiment, parts):
    piece = Piece(experiment, time_ms, time_ms, parts, some)

    assert Piece.unpack(piece.pack()) == piece


def test_an_entry_takes_24_bytes_or_16_and_a_mark_8():
    def size(some):
        return len(Piece(1, 2, 3, 0, some).pack())

    assert size({}) == 36
    assert size(dict.fromkeys(range(100), 1 << 64)) == 36 + 2400
    assert size(dict.fromkeys(range(100), -1)) == 36 + 2400
    assert size(dict.fromkeys(range(100), 1)) == 36 + 1600
    assert size(dict.fromkeys(range(100), 0)) == 36 + 800


def test_chunks_are_bounded_and_lose_nothing():
    some = dict.fromkeys(range(2 * MAX_ENTRIES + 1), 1)

    parts = chunks(some)

    assert [len(part) for part in parts] == [MAX_ENTRIES, MAX_ENTRIES, 1]
    assert {key: value for part in parts for key, value in part.items()} == some
    assert len(Piece(1, 2, 3, 0, parts[0]).pack()) < 900_000


def test_segments_of_a_bucket_stay_within_twice_its_size(monkeypatch):
    monkeypatch.setattr(segments, "MAX_ENTRIES", 1000)
    window, largest = DeduplicationWindow(1, 10**6), 0
    kept: dict[str, WindowSegment] = {}

    for last_offset in range(4000):
        observe(window, 0, unit=last_offset % 1500, event=0, value=MICRO)
        taken, forgotten = window.take(last_offset)
        kept |= {segment.key: segment for segment in taken}
        for key in forgotten:
            del kept[key]
        if last_offset % 100 == 99:
            size = sum(len(Piece.unpack(segment.body).entries) for segment in kept.values())
            largest = max(largest, size + 8 * len(kept))
        if last_offset % 500 == 499:
            assert restored(kept).buckets == window.buckets

    assert 1500 < largest <= 2 * 1500 + 512


def test_a_bucket_written_whole_replaces_its_older_segments_once_no_part_is_missing(monkeypatch):
    monkeypatch.setattr(segments, "MAX_ENTRIES", 1)
    window = DeduplicationWindow(1, 100)
    older: dict[str, WindowSegment] = {}
    for last_offset in range(3):
        observe(window, 0, unit=last_offset + 1)
        older |= {segment.key: segment for segment in window.take(last_offset)[0]}
    before = dict(window.buckets[27 * HOUR_MS])
    monkeypatch.setattr("streams.fold.buckets._SLACK", 0)
    observe(window, 0, unit=4)
    whole, forgotten = window.take(3)

    assert [Piece.unpack(segment.body).parts for segment in whole] == [4, 4, 4, 4]
    assert forgotten == list(older)
    assert restored({segment.key: segment for segment in whole}).buckets == window.buckets
    assert restored(older | {segment.key: segment for segment in whole}).take(4) == ([], forgotten)
    for missing in whole:
        incomplete = restored(older | {part.key: part for part in whole if part is not missing})
        assert incomplete.take(4) == ([], [])
        assert before.items() <= incomplete.buckets[27 * HOUR_MS].items()


def test_segments_of_forgotten_buckets_are_reported_once_and_also_after_a_restart():
    window = DeduplicationWindow(1, 100)
    observe(window, 0, unit=1)
    first, _ = window.take(1)
    observe(window, 60 * HOUR_MS, unit=2)
    second, forgotten = window.take(2)

    assert forgotten == [first[0].key]
    assert window.take(3) == ([], [])
    again = restored({segment.key: segment for segment in first + second})
    assert again.buckets == window.buckets
    assert again.horizon == window.horizon
    assert again.take(3) == ([], forgotten)


def test_the_hash_of_an_event_id_is_never_that_of_none():
    assert hash_of("") > 0
