"""Records are folded in chunks that are bounded, whatever the sizes of the records."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streams.fold import observation_records
from streams.fold.observation_records import COST_OF_OTHERS, chunks
from streams.wire.plain_observations import PLAIN_START


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    timestamp: int = 0


sizes = st.none() | st.integers(0, 9)
prefixes = st.sampled_from([b"", PLAIN_START])


def cost(value: bytes | None) -> int:
    """Return what a record counts with against `CHUNK_BYTES`."""
    some = value or b""
    return len(some) * (1 if some.startswith(PLAIN_START) else COST_OF_OTHERS)


@given(st.lists(st.tuples(sizes, prefixes), max_size=12), st.integers(-1, 12))
def test_chunks_are_the_records_above_an_offset_in_order_and_bounded(sized, last_offset):
    some = [None if size is None else prefix + bytes(size) for size, prefix in sized]
    records = [Record(n, value) for n, value in enumerate(some)]
    observation_records.CHUNK_BYTES, before = 160, observation_records.CHUNK_BYTES
    try:
        found = list(chunks(records, last_offset))
    finally:
        observation_records.CHUNK_BYTES = before
    covered = [index for start, stop in found for index in range(start, stop)]
    assert covered == list(range(min(last_offset + 1, len(some)), len(some)))
    for start, stop in found:
        assert start < stop
        assert sum(map(cost, some[start:stop])) <= 160 or stop == start + 1


def test_a_batch_of_ever_so_many_refused_observations_is_a_separate_chunk():
    """10,000 members of two bytes each cost as much as thousands of clicks."""
    batch = b"[" + b"0," * 9_999 + b"0]"
    records = [Record(n, batch) for n in range(8)]
    assert max(stop - start for start, stop in chunks(records, -1)) <= 3
