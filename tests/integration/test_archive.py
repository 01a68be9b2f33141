"""An archive of a real log: what is read back is what was sent, to the byte."""

from __future__ import annotations

import json
import secrets
import threading

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from schemas.catalogue import COMMANDS, DAY_MS, OBSERVATIONS
from streams.cli.main import app
from streams.kafka.admin import create_topics
from streams.kafka.records import LogError, StoredRecord
from streams.kafka.source import KafkaSource
from streams.ops.archive.archiving import archive
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.layout import files_of
from streams.ops.archive.source import ArchiveSource
from streams.ops.archive.verification import verify
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify as verify_log
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until

TOPICS = [COMMANDS.name, OBSERVATIONS.name]
DAY = 20_000 * DAY_MS


class Log:
    """Sends records, and remembers them as they must be read back."""

    def __init__(self, settings):
        create_topics(settings)
        self.settings = settings
        self.sent: dict[tuple[str, int], list[StoredRecord]] = {}
        self.producer = Producer(settings.confluent_config() | {"linger.ms": 20})

    def send(self, topic, partition, n, timestamp_ms=DAY):
        """Send `n` records of every kind of bytes, in batches of many."""
        records = self.sent.setdefault((topic, partition), [])
        for index in range(n):
            key = None if index % 3 == 0 else secrets.token_bytes(index % 5)
            value = None if index % 7 == 6 else secrets.token_bytes(index % 300)
            name = self.settings.topic_prefix + topic
            self.producer.produce(
                name, value, key, partition=partition, timestamp=timestamp_ms + index
            )
            records.append(StoredRecord(len(records), timestamp_ms + index, key, value))
        assert self.producer.flush(PATIENCE_S) == 0


@pytest.fixture
def log(settings):
    return Log(settings)


def archived(log, directory, **options):
    return archive(KafkaSource(log.settings), directory, TOPICS, **options)


def read_back(directory, topic, partition):
    source = ArchiveSource(directory)
    span = source.spans(topic)[partition]
    return [
        record for piece in source.read(topic, partition, span.begin, span.end) for record in piece
    ]


def test_what_is_read_back_is_what_was_sent(log, tmp_path):
    log.send("observations", 0, 1_234)
    log.send("observations", 2, 17)
    log.send("commands", 1, 1)

    archived(log, tmp_path)

    for (topic, partition), sent in log.sent.items():
        found = read_back(tmp_path, topic, partition)
        if topic == COMMANDS.name:  # Kafka gives its records the broker's time
            found = [record._replace(timestamp=DAY) for record in found]
        assert found == sent
    assert read_back(tmp_path, "observations", 3) == []


def test_a_second_run_appends_only_what_is_new(log, tmp_path):
    log.send("observations", 0, 100)
    archived(log, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.avro")}

    again = archived(log, tmp_path)
    log.send("observations", 0, 30, DAY)
    log.send("observations", 1, 5)
    third = archived(log, tmp_path)

    assert sum(part.records for part in again) == 0
    assert {(p.partition, p.records) for p in third if p.records} == {(0, 30), (1, 5)}
    assert {path: path.read_bytes() for path in before} == before
    for (topic, partition), sent in log.sent.items():
        assert read_back(tmp_path, topic, partition) == sent


def test_files_are_by_day_and_keep_the_order_of_the_log(log, tmp_path):
    log.send("observations", 0, 10, DAY)
    log.send("observations", 0, 10, DAY + DAY_MS)
    log.send("observations", 0, 10, DAY)

    archived(log, tmp_path)

    files = files_of(tmp_path, "observations", 0)
    assert [(file.day, file.first_offset) for file in files] == [(20_000, 0), (20_001, 10)]
    assert read_back(tmp_path, "observations", 0) == log.sent["observations", 0]


def test_the_log_of_another_installation_is_refused(log, settings, tmp_path):
    log.send("observations", 0, 100)
    archived(log, tmp_path)
    others = [
        Log(settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}{n}-"}))
        for n in (5, 200)
    ]

    for n, other in zip((5, 200), others, strict=True):
        other.send("observations", 0, n)
        with pytest.raises(ArchiveError) as refusal:
            archived(other, tmp_path)
        assert refusal.value.code == "ARCHIVE_MISMATCH"

    assert read_back(tmp_path, "observations", 0) == log.sent["observations", 0]


def test_the_commands_archive_and_verify(log, tmp_path, monkeypatch):
    log.send("observations", 0, 50)
    for name, value in environment(log.settings).items():
        monkeypatch.setenv(name, value)

    done = CliRunner().invoke(app, ["archive", "run", "--to", str(tmp_path / "a"), "--json"])
    verified = CliRunner().invoke(app, ["archive", "verify", str(tmp_path / "a"), "--json"])

    assert done.exit_code == 0, done.output
    assert sum(part["records"] for part in json.loads(done.stdout)) == 50
    assert verified.exit_code == 0, verified.output
    reports = {report["topic"]: report for report in json.loads(verified.stdout)}
    assert reports["observations"]["records"] == 50
    assert set(reports) == {"commands", "impressions", "observations"}


@pytest.mark.kafka  # the embedded broker deletes nothing
def test_records_that_kafka_deleted_before_they_were_archived_stop_the_run(log, tmp_path):
    log.send("observations", 0, 100)
    archived(log, tmp_path)
    log.send("observations", 0, 50)
    place = TopicPartition(f"{log.settings.topic_prefix}observations", 0, 130)
    admin = AdminClient(log.settings.confluent_config())
    admin.delete_records([place])[place].result(PATIENCE_S)

    with pytest.raises(ArchiveError) as refusal:
        archived(log, tmp_path)
    accepted = archived(log, tmp_path, accept_gap=True)

    assert (refusal.value.code, refusal.value.path) == ("ARCHIVE_GAP", "observations/0")
    assert {(part.records, part.missing) for part in accepted if part.records} == {(20, 30)}
    assert read_back(tmp_path, "observations", 0) == log.sent["observations", 0][130:]


@pytest.mark.kafka  # the embedded broker knows no transactions
def test_the_offsets_that_transactions_use_are_not_missed(log, tmp_path):
    producer = Producer(log.settings.confluent_config() | {"transactional.id": secrets.token_hex()})
    producer.init_transactions()
    for _ in range(3):
        producer.begin_transaction()
        producer.produce(f"{log.settings.topic_prefix}observations", b"value", partition=0)
        producer.commit_transaction()
        archived(log, tmp_path)

    assert [record.offset for record in read_back(tmp_path, "observations", 0)] == [0, 2, 4]
    (report,) = [each for each in verify(tmp_path) if each.topic == "observations"]
    assert (report.problems, report.unused) == ([], 2)


def test_a_topic_that_is_written_all_the_time_has_an_end(log, tmp_path):
    log.send("observations", 0, 500)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            log.send("observations", 0, 20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        archived(log, tmp_path)
    finally:
        stop.set()
        writer.join()

    found = read_back(tmp_path, "observations", 0)
    assert len(found) >= 500
    assert found == log.sent["observations", 0][: len(found)]


@pytest.mark.kafka  # the embedded broker deletes nothing
def test_a_log_of_which_kafka_lost_the_beginning_is_verified_from_its_archive(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        ledger.start_experiment(7)
        for partition in range(4):
            for receipt in ledger.assign(7, partition):
                ledger.observe(receipt)
        until(lambda: ledger.is_exact(7))
        source = KafkaSource(settings)
        archive(source, tmp_path / "a", [*TOPICS, "impressions"])
        places = [
            TopicPartition(f"{settings.topic_prefix}{topic}", partition, span.end)
            for topic in ("impressions", "observations")
            for partition, span in source.spans(topic).items()
        ]
        admin = AdminClient(settings.confluent_config())
        for done in admin.delete_records(places).values():
            done.result(PATIENCE_S)
        for receipt in ledger.assign(7, 0):
            ledger.observe(receipt)
        until(lambda: ledger.is_exact(7))

    joined = JoinedSource(ArchiveSource(tmp_path / "a"), source)
    inputs = FoldInputs.of(settings)
    with pytest.raises(LogError) as refusal:
        verify_log(source, None, inputs)
    report = verify_log(joined, projection_of(settings), inputs, processes=2)

    assert refusal.value.code == "LOG_TRUNCATED"
    assert report.is_equal, report.difference
    assert (report.cells, report.projected) == (8, 1)
