from importlib.resources import files

import pytest

from schemas import library
from schemas.catalogue import (
    CATALOGUE,
    CHANGELOGS,
    DAY_MS,
    DEAD_LETTERS,
    TIMESERIES,
    TOPICS,
    WEBHOOKS,
    Cleanup,
    projections,
    topic_configs,
)


def configs(prefix="dev.", generation=1):
    made = topic_configs(
        prefix=prefix,
        partitions=4,
        replication_factor=3,
        min_insync_replicas=2,
        generation=generation,
    )
    return {config.name: config for config in made}


def test_every_schema_has_a_topic_and_every_topic_known_schemas():
    used = {name for topic in CATALOGUE for name in topic.schemas}

    assert sorted(used) == sorted(library.NAMES)
    assert all(topic.schemas for topic in TOPICS)


def test_compacted_topics_keep_a_day_of_history():
    compacted = [topic for topic in CATALOGUE if topic.cleanup is Cleanup.COMPACT]

    assert {topic.name for topic in compacted} == {
        "tallies",
        "posteriors",
        "timeseries",
        "webhooks",
        *(topic.name for topic in CHANGELOGS),
    }
    assert all(int(topic.config()["min.compaction.lag.ms"]) >= DAY_MS for topic in compacted)


def test_configs_say_what_the_broker_should_do():
    made = configs()

    assert len(made) == len(CATALOGUE)
    assert {(c.partitions, c.replication_factor) for c in made.values()} == {(4, 3)}
    assert {c.config["min.insync.replicas"] for c in made.values()} == {"2"}
    assert made["dev.impressions"].config["retention.ms"] == str(30 * DAY_MS)
    assert made["dev.commands"].config["retention.ms"] == "-1"
    assert made["dev.dead-letters"].config["retention.ms"] == str(90 * DAY_MS)


def test_changelogs_have_the_names_that_faust_gives_them():
    app = "dev.experiment-streams"

    assert {f"{app}-{table}-state-changelog" for table in ("impressions", "observations")} < set(
        configs()
    )


def test_a_dead_letter_has_room_for_the_largest_record():
    entering = max(topic.max_message_bytes for topic in TOPICS if "observation" in topic.schemas)

    assert DEAD_LETTERS.max_message_bytes >= 2 * entering


def test_the_table_for_people_names_the_same_topics():
    readme = (files("schemas") / "README.md").read_text("utf-8")
    rows = [line for line in readme.partition("## Topics")[2].splitlines() if line[:3] == "| `"]

    assert [row.split("`")[1] for row in rows] == [topic.name for topic in CATALOGUE]


def test_the_first_generation_has_the_names_of_the_catalogue():
    compacted = {topic for topic in CATALOGUE if topic.cleanup is Cleanup.COMPACT}

    assert set(projections(1)) == compacted - {TIMESERIES, WEBHOOKS}


def test_generations_share_no_topic_and_leave_the_log_alone():
    names = [topic.name for number in (2, 3, 12) for topic in projections(number)]
    names += [topic.name for topic in CATALOGUE]

    assert len(names) == len(set(names))


def test_a_generation_differs_from_the_first_in_its_names_only():
    for first, second in zip(projections(1), projections(2), strict=True):
        assert second.config() == first.config()
        assert second.schemas == first.schemas

    assert [topic.name for topic in projections(2)] == [
        "g2-tallies",
        "g2-posteriors",
        "experiment-streams-v2-impressions-state-changelog",
        "experiment-streams-v2-observations-state-changelog",
        "experiment-streams-v2-experiments-state-changelog",
    ]


def test_a_generation_needs_the_log_and_its_own_topics():
    own = {topic.name for topic in projections(1)}

    assert configs("", 2).keys() == {topic.name for topic in CATALOGUE if topic.name not in own} | {
        topic.name for topic in projections(2)
    }


def test_there_is_no_generation_before_the_first():
    with pytest.raises(ValueError, match="must be at least 1"):
        projections(0)
