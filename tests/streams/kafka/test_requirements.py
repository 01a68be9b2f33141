"""Settings of topics and rights against what is needed."""

from dataclasses import replace

import pytest

from schemas.catalogue import topic_configs
from streams.kafka.requirements import deviations, missing_rights
from streams.kafka.topics import TopicDescriptions, TopicState

REQUIRED = topic_configs(prefix="p-", partitions=4, replication_factor=3, min_insync_replicas=2)
AS_WANTED = {
    topic.name: TopicState(topic.name, "id", 4, 3, 0, None, dict(topic.config))
    for topic in REQUIRED
}


def found(name, **changes):
    topics = AS_WANTED | {name: replace(AS_WANTED[name], **changes)}
    return [
        (each.setting, each.is_refused)
        for each in deviations(REQUIRED, TopicDescriptions(topics, (), ()))
    ]


def with_setting(name, setting, value):
    return found(name, config={**(AS_WANTED[name].config or {}), setting: value})


def test_what_is_as_created_deviates_in_nothing():
    assert deviations(REQUIRED, TopicDescriptions(AS_WANTED, (), ())) == []
    assert deviations(REQUIRED, TopicDescriptions({}, tuple(AS_WANTED), ())) == []


def test_settings_that_may_not_be_seen_deviate_in_nothing():
    assert found("p-commands", config=None) == []


@pytest.mark.parametrize(
    ("name", "setting", "value", "is_refused"),
    [
        ("p-commands", "retention.ms", "604800000", True),
        ("p-commands", "retention.bytes", "1073741824", True),
        ("p-commands", "cleanup.policy", "compact", True),
        ("p-tallies", "cleanup.policy", "delete", True),
        ("p-tallies", "max.message.bytes", "1048588", True),
        ("p-tallies", "min.compaction.lag.ms", "0", True),
        ("p-observations", "message.timestamp.after.max.ms", "9223372036854775807", True),
        ("p-observations", "retention.bytes", "1073741824", False),
        ("p-observations", "retention.ms", "86400000", False),
        ("p-observations", "max.message.bytes", "10485760", False),
        ("p-impressions", "message.timestamp.type", "CreateTime", False),
        ("p-impressions", "min.insync.replicas", "1", False),
        ("p-impressions", "min.insync.replicas", "4", True),
    ],
)
def test_a_wrong_setting_is_found_and_refused_where_it_loses_something(
    name, setting, value, is_refused
):
    assert with_setting(name, setting, value) == [(setting, is_refused)]


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("p-observations", "retention.ms", "-1"),
        ("p-observations", "retention.ms", "31536000000"),
        ("p-tallies", "min.compaction.lag.ms", "172800000"),
        ("p-observations", "message.timestamp.after.max.ms", "60000"),
        ("p-tallies", "min.insync.replicas", "3"),
    ],
)
def test_a_setting_that_is_stricter_is_no_fault(name, setting, value):
    assert with_setting(name, setting, value) == []


def test_partitions_and_copies_are_compared():
    assert found("p-commands", partitions=1) == [("partitions", True)]
    assert found("p-commands", replication_factor=2) == [("replication.factor", False)]


def test_missing_rights_are_named_with_their_topic():
    described = TopicDescriptions(
        {
            "a": replace(AS_WANTED["p-commands"], operations=frozenset({"READ", "DESCRIBE"})),
            "b": AS_WANTED["p-commands"],  # the broker does not say
        },
        ("gone",),
        ("hidden",),
    )
    needed = dict.fromkeys(("a", "b", "gone", "hidden"), frozenset({"READ", "WRITE"}))
    assert missing_rights(needed, described) == [
        "WRITE on topic a",
        "READ, WRITE on topic hidden",
    ]
