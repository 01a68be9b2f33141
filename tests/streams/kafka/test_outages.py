"""An outage of Kafka is a line of the log now and then, and nothing on stderr."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaError

from streams.kafka.outages import INTERVAL_S, logging_outages
from streams.kafka.settings import KafkaSettings
from tests.brokers.kafka import free_ports
from tests.patience import until


def test_one_line_an_interval(caplog):
    now = [0.0]
    settings = KafkaSettings(kafka_url="kafka.example:9092")
    note = logging_outages(settings, "reading webhooks", lambda: now[0])["error_cb"]
    error = KafkaError(KafkaError._ALL_BROKERS_DOWN)

    with caplog.at_level(logging.WARNING):
        for seconds in (0.0, 0.1, INTERVAL_S - 0.1, INTERVAL_S, INTERVAL_S + 1.0):
            now[0] = seconds
            note(error)

    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("Kafka at kafka.example:9092, reading webhooks: ")


def test_librdkafka_itself_prints_nothing(capfd, caplog):
    settings = KafkaSettings(kafka_url=f"127.0.0.1:{free_ports(1)[0]}")
    config = settings.group_config("readers") | logging_outages(settings, "reading")
    consumer = Consumer(config)
    consumer.subscribe(["events"])
    try:
        with caplog.at_level(logging.WARNING):
            until(lambda: consumer.poll(0.1) is None and caplog.messages)
    finally:
        consumer.close()

    assert "|rdkafka#" not in capfd.readouterr().err  # as all of its lines have it
