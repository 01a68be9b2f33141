"""Records of a broker that are read into a journal, and written from it to another broker."""

from __future__ import annotations

import random
import secrets
import threading
import time

import pytest
from confluent_kafka import Producer, TopicPartition

from schemas import catalogue
from streams.kafka.admin import create_topics
from streams.kafka.generations import append_change, generations_of
from streams.kafka.positions import HOLDOUTS_GROUP, GroupPositions
from streams.kafka.records import StoredRecord, all_records
from streams.kafka.source import KafkaSource
from streams.local.journal.keeping import JournalKeeper, positions_of
from streams.local.journal.restoring import restore
from streams.local.journal.store import Journal, JournalRecord
from streams.model.errors import ConfigurationError
from streams.model.generations import ChangeKind
from streams.settings import Settings
from tests.patience import until

OBSERVATIONS, COMMANDS = catalogue.OBSERVATIONS.name, catalogue.COMMANDS.name


def another(settings: Settings) -> Settings:
    """Return an installation whose topics are there and empty."""
    found = settings.model_copy(update={"topic_prefix": f"test-{secrets.token_hex(4)}-"})
    create_topics(found)
    return found


def kept(settings: Settings, topic: str) -> list[tuple[int, StoredRecord]]:
    return [*all_records(KafkaSource(settings), topic)]


def test_a_log_is_kept_as_it_grows_and_restored_as_it_was(settings, tmp_path):
    create_topics(settings)
    append_change(settings, 2, ChangeKind.STARTED)
    append_change(settings, 2, ChangeKind.SERVED)
    producer = Producer(settings.confluent_config())
    now_ms = time.time_ns() // 1_000_000
    stop = threading.Event()
    path = tmp_path / "journal"
    Journal(path).close()

    def keep() -> None:
        with Journal(path) as journal:
            JournalKeeper(settings, journal).run(stop.is_set)

    def committed() -> bool:
        with Journal(path) as journal:
            return journal.positions == {
                "workers": {(OBSERVATIONS, 1): 7},
                "holdouts": {(OBSERVATIONS, 2): 5},
            }

    keeping = threading.Thread(target=keep)
    keeping.start()
    of_active = settings.model_copy(update={"generation": 2})
    copiers = settings.topic_prefix + HOLDOUTS_GROUP
    with GroupPositions(of_active) as workers, GroupPositions(settings, copiers) as copying:
        for number in range(200):
            producer.produce(
                settings.topic_prefix + OBSERVATIONS,
                None if number == 3 else b"%d" % number,
                key=None if number % 2 else b"k",
                partition=number % 3,
                timestamp=now_ms - 1_000 * number,
                headers=[("copied-for", b"holdout")] if number % 5 == 0 else None,
            )
            if number == 100:
                producer.flush()
        producer.flush()
        place = TopicPartition(settings.topic_prefix + OBSERVATIONS, 1, 7)
        workers._consumer.commit(offsets=[place], asynchronous=False)
        place = TopicPartition(settings.topic_prefix + OBSERVATIONS, 2, 5)
        copying._consumer.commit(offsets=[place], asynchronous=False)
        until(committed)
    stop.set()
    keeping.join()

    restored = another(settings)
    with Journal(path) as journal:
        restore(journal, restored, lambda _: None)
        assert journal.ends[OBSERVATIONS, 2] == 66
    assert kept(restored, OBSERVATIONS) == kept(settings, OBSERVATIONS)
    assert generations_of(restored)[0] == generations_of(settings)[0]
    assert positions_of(restored, 2) == {
        "workers": {(restored.topic_prefix + OBSERVATIONS, 1): 7},
        "holdouts": {(restored.topic_prefix + OBSERVATIONS, 2): 5},
    }
    with Journal(tmp_path / "again") as again:
        JournalKeeper(restored, again).run(lambda: True)
        with Journal(path) as journal:
            assert sorted(again.records()) == sorted(journal.records())


def test_what_is_behind_a_transaction_that_does_not_end_is_kept(settings, tmp_path):
    create_topics(settings)
    name = settings.topic_prefix + OBSERVATIONS
    open_one = Producer(settings.confluent_config() | {"transactional.id": secrets.token_hex()})
    open_one.init_transactions()
    open_one.begin_transaction()
    open_one.produce(name, b"open", partition=0)
    open_one.flush()
    other = Producer(settings.confluent_config())
    other.produce(name, b"accepted", partition=0)
    other.flush()

    with Journal(tmp_path / "journal") as journal:
        JournalKeeper(settings, journal).run(lambda: True)
        found = [each.value for each in journal.records()]

    assert b"accepted" in found


def test_offsets_that_a_transaction_took_are_gone_and_positions_follow(settings, tmp_path):
    """Records at 0, 2 and 5 get 0, 1 and 2; of those below 5 all that follows is published."""
    restored = another(settings)
    with Journal(tmp_path / "journal") as journal:
        journal.append(
            [JournalRecord(COMMANDS, 0, offset, 1, b"k", b"v%d" % offset) for offset in (0, 2, 5)],
            {"workers": {(COMMANDS, 0): 5}},
        )
        restore(journal, restored, lambda _: None)
        assert journal.ends == {(COMMANDS, 0): 3}
        assert journal.positions == {"workers": {(COMMANDS, 0): 2}}
        values = [(each.offset, each.value) for _, each in kept(restored, COMMANDS)]
        assert values == [(0, b"v0"), (1, b"v2"), (2, b"v5")]


def test_a_log_of_more_partitions_is_refused_with_the_setting(settings, tmp_path):
    with Journal(tmp_path / "journal") as journal:
        journal.append([JournalRecord(COMMANDS, 6, 0, 1, None, b"v")])
        with pytest.raises(ConfigurationError, match="EXPERIMENT_PARTITIONS=7"):
            restore(journal, settings, lambda _: None)


def test_records_of_any_size_that_the_log_had_are_restored(settings, tmp_path):
    """The statistics of a conclusion may have megabytes, and what is unpacked is what is kept."""
    restored = another(settings)
    sizes = {catalogue.DECISIONS.name: catalogue.STATE_BYTES - 1_000, OBSERVATIONS: 17 * 2**20}
    with Journal(tmp_path / "journal") as journal:
        journal.append(
            record
            for topic, size in sizes.items()
            for record in (
                JournalRecord(topic, 0, 0, 1, b"k", random.Random(size).randbytes(size // 20) * 20),
                JournalRecord(topic, 0, 1, 2, b"k", b"small"),
            )
        )
        restore(journal, restored, lambda _: None)
        for topic in sizes:
            wanted = [record.value for record in journal.records() if record.topic == topic]
            assert [each.value for _, each in kept(restored, topic)] == wanted


@pytest.mark.parametrize("kept", [3, 5])
def test_a_log_of_another_number_of_partitions_is_refused_wherever_its_records_are(
    settings, tmp_path, kept
):
    """A key would belong to another partition than before."""
    with Journal(tmp_path / "journal") as journal:
        journal.keep_partitions(kept)
        journal.append([JournalRecord(COMMANDS, 0, 0, 1, None, b"v")])
        assert settings.partitions == 4
        with pytest.raises(ConfigurationError, match=f"EXPERIMENT_PARTITIONS={kept}"):
            restore(journal, settings, lambda _: None)
