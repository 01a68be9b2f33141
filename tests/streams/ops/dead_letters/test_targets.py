"""A letter decides neither where its record is sent nor, of a command, what it is."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from streams.kafka.records import StoredRecord
from streams.model.errors import InputError
from streams.ops.dead_letters.originals import Original, original_of
from streams.ops.dead_letters.targets import catalogue_name, check_target, is_authentic
from streams.settings import Settings
from tests.streams.ops.dead_letters.test_originals import FORGED

SETTINGS = Settings(topic_prefix="p-", partitions=4)


@pytest.mark.parametrize(
    "topic", ["p-observations", "p-impressions", "p-commands", "p-tallies", "p-g12-tallies"]
)
@pytest.mark.parametrize("named", [(), ("p-other",)])
def test_the_sources_of_workers_may_be_sent_to(topic, named):
    check_target(replace(FORGED, topic=topic), SETTINGS, named)


@pytest.mark.parametrize(
    "topic",
    [
        "p-decisions",
        "p-posteriors",
        "p-g2-posteriors",
        "p-generations",
        "p-dead-letters",
        "p-webhooks",
        "p-experiment-streams-observations-state-changelog",
    ],
)
def test_no_other_topic_of_the_engine_may_be_sent_to_not_even_if_it_is_named(topic):
    with pytest.raises(InputError) as refused:
        check_target(replace(FORGED, topic=topic), SETTINGS, {topic})
    assert refused.value.code == "OTHER_TOPIC"


@pytest.mark.parametrize("topic", ["conversions", "p-conversions", "observations", "p-g0-tallies"])
def test_topics_of_others_are_sent_to_if_they_are_named(topic):
    letter = replace(FORGED, topic=topic, partition=99)
    check_target(letter, SETTINGS, {topic})
    with pytest.raises(InputError) as refused:
        check_target(letter, SETTINGS, {"other"})
    assert refused.value.code == "OTHER_TOPIC"


@pytest.mark.parametrize("partition", [-1, 4, 2**31 - 1])
def test_a_partition_that_does_not_exist_is_refused(partition):
    with pytest.raises(InputError) as refused:
        check_target(replace(FORGED, topic="p-observations", partition=partition), SETTINGS)
    assert refused.value.code == "NO_SUCH_PARTITION"


def test_commands_and_cells_go_as_their_topic_has_them():
    """A letter with the bytes of another command is no proof that such a command was refused."""
    assert [is_authentic(f"p-{name}", "p-") for name in ("observations", "impressions")] == [
        True,
        True,
    ]
    assert [is_authentic(f"p-{name}", "p-") for name in ("commands", "g3-tallies")] == [False] * 2
    assert catalogue_name("tallies", "p-") is None
    value = FORGED.value
    assert value is not None

    def stored(value: bytes) -> Original | InputError:
        record = StoredRecord(17, 5_000, b"own key", value)
        return original_of(FORGED, lambda _: record, is_authentic=False)

    assert stored(value) == Original(b"own key", value)
    changed = stored(value + b" ")
    gone = original_of(FORGED, lambda _: None, is_authentic=False)
    assert isinstance(changed, InputError)
    assert isinstance(gone, InputError)
    assert (changed.code, gone.code) == ("ORIGINAL_CHANGED", "ORIGINAL_GONE")
    unsized = replace(FORGED, value_bytes=None, value_sha256=None)  # of an early release
    record = StoredRecord(17, 5_000, b"own key", value)
    assert original_of(unsized, lambda _: record, is_authentic=False) == Original(b"own key", value)
    assert sha256(value).digest() == FORGED.value_sha256
