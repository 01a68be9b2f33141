"""Partitions by key: murmur2 as Kafka's Java clients compute it, one key or thousands at a time.

Observations of one assignment must meet in one partition, since each partition remembers its own
events. librdkafka's default partitioner is another one (CRC32), so a reader has to check.

Source: Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEED = 0x9747B28C
_M = 0x5BD1E995
_R = 24
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_WORD = 4
_COLUMNS_FROM = 5
"""Keys from which on columns cost less than one key after the other."""

_CHUNK = 2048
"""Keys hashed at a time: so many, with their words, fit into the cache of a core."""


def murmur2(key: bytes) -> int:
    """Return the 32-bit hash of a key.

    >>> murmur2(b"kafka") & 0x7FFFFFFF
    1348980580
    """
    words, rest = divmod(len(key), _WORD)
    h = _SEED ^ len(key)
    for k in _words(words).unpack_from(key):
        k = k * _M & _MASK  # noqa: PLW2901 - the names of the source
        h = (h * _M & _MASK) ^ ((k ^ k >> _R) * _M & _MASK)
    if rest:
        h = (h ^ int.from_bytes(key[-rest:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key in a topic of `partitions` partitions, from 0.

    >>> partition_of(b"kafka", 8)
    4
    """
    return (murmur2(key) & _POSITIVE) % partitions


class Partition(NamedTuple):
    """A partition of a topic.

    Attributes:
        number: Its number, from 0.
        total: Number of partitions of the topic.
    """

    number: int
    total: int

    def holds(self, key: bytes) -> bool:
        """Return whether records with a key belong here.

        >>> Partition(4, 8).holds(b"kafka"), Partition(5, 8).holds(b"kafka")
        (True, False)
        """
        return partition_of(key, self.total) == self.number


SOLE_PARTITION = Partition(0, 1)
"""The partition of a topic that has no other: all keys belong there."""


def partitions_of_rows(
    keys: NDArray[np.uint8], sizes: NDArray[np.int64], partitions: int
) -> NDArray[np.int64]:
    """Return the partition of each key, from 0.

    Args:
        keys: One key per row, padded at the end; shape (n, longest).
        sizes: Length of each key; shape (n,).
        partitions: Number of partitions, > 0.
    """
    if not len(keys):
        return np.empty(0, np.int64)
    if (sizes == sizes[0]).all():
        return _partitions_of_size(keys[:, : sizes[0]], partitions)
    found = np.empty(len(keys), np.int64)
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        found[rows] = _partitions_of_size(keys[rows, :size], partitions)
    return found


def _partitions_of_size(keys: NDArray[np.uint8], partitions: int) -> NDArray[np.int64]:
    found = np.empty(len(keys), np.int64)
    for start in range(0, len(keys), _CHUNK):
        stop = start + _CHUNK
        hashes = _murmur2_rows(keys[start:stop])
        found[start:stop] = (hashes & np.uint32(_POSITIVE)) % np.uint32(partitions)
    return found


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Return the partition of each key, from 0; the keys may differ in length."""
    if len(keys) < _COLUMNS_FROM:
        return [partition_of(key, partitions) for key in keys]
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        by_length[len(key)].append(place)
    found = [0] * len(keys)
    for length, places in by_length.items():
        if len(places) < _COLUMNS_FROM:
            for place in places:
                found[place] = partition_of(keys[place], partitions)
            continue
        joined = b"".join([keys[place] for place in places])
        rows = np.frombuffer(joined, np.uint8).reshape(len(places), length)
        for place, partition in zip(
            places, _partitions_of_size(rows, partitions).tolist(), strict=True
        ):
            found[place] = partition
    return found


def _murmur2_rows(keys: NDArray[np.uint8]) -> NDArray[np.uint32]:
    count, length = keys.shape
    n_words, rest = divmod(length, _WORD)
    multiplier = np.uint32(_M)
    padded = np.zeros((count, (n_words + (rest > 0)) * _WORD), np.uint8)
    padded[:, :length] = keys
    # A row a word: every step then reads memory in order.
    words = np.ascontiguousarray(padded.view("<u4").T)
    mixed = words[:n_words]
    mixed *= multiplier
    mixed ^= mixed >> np.uint32(_R)
    mixed *= multiplier
    h = np.full(count, _SEED ^ length, np.uint32)
    for k in mixed:
        h *= multiplier
        h ^= k
    if rest:
        h ^= words[n_words]
        h *= multiplier
    h ^= h >> np.uint32(13)
    h *= multiplier
    h ^= h >> np.uint32(15)
    return h


_STRUCTS: dict[int, Struct] = {}


def _words(count: int) -> Struct:
    found = _STRUCTS.get(count)
    if found is None:
        found = _STRUCTS[count] = Struct(f"<{count}I")
    return found
