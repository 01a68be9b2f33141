"""Effects of hostile records, producers and topics on the counts: on either broker."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO
from streams.ops.doctor.checks import findings
from streams.ops.doctor.gathering import gather
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify
from tests.integration.engine_ledger import Ledger, workers_of
from tests.patience import PATIENCE_S, until

EXPERIMENT = 7


def test_observations_of_another_partitioner_count_once_and_replay_equal(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        ledger.start_experiment(EXPERIMENT)
        receipts = [each for n in range(4) for each in ledger.assign(EXPERIMENT, n)]
        for receipt in receipts:
            sent = ledger.observe(receipt)
            for partition in range(settings.partitions):
                ledger.produce("observations", sent.value, sent.key, partition)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
        worker.kill()
        worker.wait()
        workers.start()
        # One without an event id counts once for each record: in the wrong partition, too.
        others = (ledger.receipt(EXPERIMENT, 1, secrets.randbits(64)) for _ in range(100))
        lonely = next(each for each in others if partition_of(each.encode(), 4) != 0)
        record = f'{{"assignmentId": "{lonely}", "metric": "click", "value": 1}}'.encode()
        ledger.produce("observations", record, None, 0)
        ledger.producer.flush()
        variant = ledger.opened(lonely).variant
        ledger.observations[EXPERIMENT, variant, "click"] += 1
        ledger.totals[EXPERIMENT, variant, "click"] += MICRO
        until(lambda: ledger.is_exact(EXPERIMENT))

    report = verify(KafkaSource(settings), projection_of(settings), FoldInputs.of(settings))
    assert report.is_equal, report.difference
    assert not ledger.dead_letters()


def test_a_topic_made_anew_stops_the_worker_and_no_other_starts(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    topic = f"{settings.topic_prefix}observations"
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        ledger.start_experiment(EXPERIMENT)
        for receipt in ledger.assign(EXPERIMENT, 0):
            ledger.observe(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))

        admin = AdminClient(settings.confluent_config())
        admin.delete_topics([topic])[topic].result(PATIENCE_S)
        until(lambda: topic not in admin.list_topics(timeout=PATIENCE_S).topics)
        create_topics(settings)

        assert worker.wait(PATIENCE_S) == 2
        assert workers.start().wait(PATIENCE_S) == 2
        assert "was made anew" in workers.log()


@pytest.mark.kafka  # the embedded broker knows no transactions
def test_aborted_transactions_do_not_count(settings, tmp_path):
    create_topics(settings)
    ledger = Ledger(settings)
    topic = f"{settings.topic_prefix}observations"
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        ledger.start_experiment(EXPERIMENT)
        receipts = ledger.assign(EXPERIMENT, 0)
        producer = Producer(
            settings.confluent_config()
            | {"transactional.id": secrets.token_hex(), "partitioner": "murmur2_random"}
        )
        producer.init_transactions()
        for n, receipt in enumerate(receipts[:30]):
            producer.begin_transaction()
            value = f'{{"assignmentId": "{receipt}", "metric": "click", "value": 1}}'
            producer.produce(topic, value, receipt)
            if n % 3 == 2:
                producer.flush()
                producer.abort_transaction()
                continue
            producer.commit_transaction()
            variant = ledger.opened(receipt).variant
            ledger.observations[EXPERIMENT, variant, "click"] += 1
            ledger.totals[EXPERIMENT, variant, "click"] += MICRO
        for receipt in receipts[30:]:
            ledger.observe(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))

    report = verify(KafkaSource(settings), projection_of(settings), FoldInputs.of(settings))
    assert report.is_equal, report.difference


def test_a_transaction_that_does_not_end_is_named_and_what_waited_counts_once_it_has(
    settings, tmp_path
):
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        ledger.start_experiment(EXPERIMENT)
        receipts = ledger.assign(EXPERIMENT, 0)
        ledger.observe(receipts[0])
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
        producer = Producer(
            settings.confluent_config()
            | {"transactional.id": secrets.token_hex(), "partitioner": "murmur2_random"}
        )
        producer.init_transactions()
        producer.begin_transaction()
        value = f'{{"assignmentId": "{receipts[1]}", "metric": "click", "value": 1}}'
        producer.produce(f"{settings.topic_prefix}observations", value, receipts[1])
        producer.flush()
        ledger.observe(receipts[2])
        ledger.producer.flush()

        found = findings(asyncio.run(gather(settings, "http://127.0.0.1:1", 1)))
        codes = {each.code for each in found}
        assert "TRANSACTION_OPEN" in codes
        assert "COUNTED_BEYOND_LOG" not in codes

        producer.commit_transaction()
        variant = ledger.opened(receipts[1]).variant
        ledger.observations[EXPERIMENT, variant, "click"] += 1
        ledger.totals[EXPERIMENT, variant, "click"] += MICRO
        until(lambda: ledger.is_exact(EXPERIMENT))
    found = findings(asyncio.run(gather(settings, "http://127.0.0.1:1", 1)))
    assert "TRANSACTION_OPEN" not in {each.code for each in found}
