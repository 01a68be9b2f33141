"""Records are folded in chunks that are bounded, whatever the sizes of the records."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streams.fold import observation_records
from streams.fold.observation_records import chunks


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = 0


sizes = st.none() | st.integers(0, 9)


@given(st.lists(sizes, max_size=12), st.integers(-1, 12))
def test_chunks_are_the_records_above_an_offset_in_order_and_bounded(some, last_offset):
    records = [Record(n, None if size is None else bytes(size)) for n, size in enumerate(some)]
    observation_records.CHUNK_BYTES, before = 10, observation_records.CHUNK_BYTES
    try:
        found = list(chunks(records, last_offset))
    finally:
        observation_records.CHUNK_BYTES = before
    covered = [index for start, stop in found for index in range(start, stop)]
    assert covered == list(range(min(last_offset + 1, len(some)), len(some)))
    for start, stop in found:
        assert start < stop
        size = sum(each or 0 for each in some[start:stop])
        assert size <= 10 or stop == start + 1
