"""Partitions by key, against Kafka's own clients."""

import numpy as np
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from streams.model.partitioning import murmur2, partition_of, partitions_of, partitions_of_rows


@given(st.binary(max_size=200))
def test_one_key_is_hashed_as_other_clients_do(key):
    assert murmur2(key) == reference(key) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=12) | st.binary(min_size=75, max_size=75), max_size=40))
def test_many_keys_are_hashed_as_one_is(keys):
    assert partitions_of(keys, 7) == [partition_of(key, 7) for key in keys]
    assert all((reference(key) & 0x7FFFFFFF) % 7 == partition_of(key, 7) for key in keys)


def test_rows_longer_than_a_chunk_are_hashed_as_one_is():
    rows = np.random.default_rng(0).integers(0, 256, (5_000, 75)).astype(np.uint8)
    found = partitions_of_rows(rows, np.full(len(rows), rows.shape[1]), 13).tolist()
    assert found == [partition_of(row.tobytes(), 13) for row in rows]
