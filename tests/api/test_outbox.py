"""One write a turn: rows become records, and those who wait learn whether they survive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from api.outbox import ImpressionRow, Outbox
from api.spool.spool import Spool
from streams.model.events import Observation
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation_batch
from tests.api.memory import KEYRING, MemoryTopics

rows = st.builds(
    ImpressionRow,
    experiment=st.integers(0, 3),
    repeatable=st.just(False),
    variant=st.integers(0, 9),
    propensity=st.integers(1, 2**32),
    allocation_version=st.integers(0, 2**48 - 1),
    assigned_at_ms=st.integers(0, 2**48 - 1),
    unit=st.integers(0, 2**64 - 1),
    context=st.sampled_from(["", "{}", '{"device":"x"}']),
)


def outbox_of(spool: Spool, topics: MemoryTopics, partitions: int = 4) -> Outbox:
    return Outbox(
        spool,
        topics,
        incarnation=9,
        partitions=partitions,
        encode_impressions=encode_impression_batch,
        encode_observations=encode_observation_batch,
        seal=sealer(KEYRING),
    )


@given(turns=st.lists(st.lists(rows, max_size=12), max_size=6))
def test_every_row_is_in_one_record_and_sequences_have_no_gaps(tmp_path_factory, turns) -> None:
    async def run() -> MemoryTopics:
        topics = MemoryTopics()
        with Spool(tmp_path_factory.mktemp("spool"), "a", 2**24) as spool:
            outbox = outbox_of(spool, topics)
            for turn in turns:
                for row in turn:
                    outbox.add_impression(row)
                await outbox.written()
        return topics

    topics = asyncio.run(run())

    found = [
        (group.experiment, variant, propensity, version, at_ms, unit)
        for batch in topics.impressions()
        for group in batch.groups
        for variant, propensity, version, at_ms, unit in zip(
            group.variants,
            group.propensities,
            group.allocation_versions,
            group.assigned_at_ms,
            group.units,
            strict=True,
        )
    ]
    sent = [
        (row.experiment, row.variant, row.propensity, row.allocation_version, row.assigned_at_ms,
         row.unit)
        for turn in turns
        for row in turn
    ]  # fmt: skip
    assert sorted(found) == sorted(sent)
    assert len(topics.records) == sum(1 for turn in turns if turn)
    sequences: dict[int, list[int]] = {}
    for batch in topics.impressions():
        sequences.setdefault(batch.partition, []).append(batch.sequence)
    assert all(numbers == list(range(len(numbers))) for numbers in sequences.values())


@given(unit=st.integers(0, 2**64 - 1), partitions=st.integers(1, 64))
def test_a_unit_that_comes_again_has_one_partition(tmp_path_factory, unit, partitions) -> None:
    async def run() -> MemoryTopics:
        topics = MemoryTopics()
        with Spool(tmp_path_factory.mktemp("spool"), "a", 2**24) as spool:
            outbox = outbox_of(spool, topics, partitions)
            for _ in range(2):
                outbox.add_impression(ImpressionRow(1, True, 0, 1, 0, 0, unit, ""))
                await outbox.written()
        return topics

    topics = asyncio.run(run())

    assert {record.partition for record in topics.records} == {unit * partitions >> 64}


async def test_observations_go_where_any_kafka_client_would_send_their_key(tmp_path: Path) -> None:
    topics = MemoryTopics()
    with Spool(tmp_path, "a", 2**24) as spool:
        outbox = outbox_of(spool, topics)
        for number in range(20):
            outbox.add_observations([Observation(f"id-{number}", "click", 1, None, 1)])
        await outbox.written()

    assert len(topics.observations()) == 20
    for record in topics.records:
        batch = MemoryTopics([record]).observations()
        keys = {(murmur2(found.assignment_id.encode()) & 0x7FFFFFFF) % 4 for found in batch}
        assert keys == {record.partition}


# Known answers of Java's Utils.murmur2, as librdkafka and kafka-python keep them in their tests.
@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"kafka", 0xD067CF64), (b"giberish123456789", 0x8F552B0C), (b"", 0x106E08D9)],
)
def test_murmur2_is_the_one_of_java(key: bytes, expected: int) -> None:
    assert murmur2(key) & 0xFFFFFFFF == expected


async def test_a_turn_too_large_for_one_record_becomes_several(tmp_path: Path) -> None:
    topics = MemoryTopics()
    with Spool(tmp_path, "a", 2**26) as spool:
        outbox = outbox_of(spool, topics)
        for unit in range(100):
            outbox.add_impression(ImpressionRow(1, False, 0, 1, 0, 0, unit, "x" * 16_000))
        await outbox.written()

    assert len(topics.records) > 1
    assert all(len(record.payload) < 1_000_000 for record in topics.records)
    assert sum(len(batch.groups[0].units) for batch in topics.impressions()) == 100
