"""An outage of Kafka is a line of the log now and then, and nothing on stderr."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaError

from streams.kafka.outages import logging_outages
from streams.kafka.settings import KafkaSettings
from streams.process.outages import INTERVAL_S, OutageFilter
from tests.brokers.kafka import free_ports
from tests.patience import until


def test_one_line_an_interval_for_each_thing_that_cannot_be_done(caplog):
    now = [0.0]
    caplog.handler.addFilter(thinned := OutageFilter(lambda: now[0]))
    settings = KafkaSettings(kafka_url="kafka.example:9092")
    notes = [
        logging_outages(settings, what)["error_cb"]
        for what in ("reading webhooks", "writing events")
    ]
    error = KafkaError(KafkaError._ALL_BROKERS_DOWN)

    try:
        for now[0] in (0.0, 0.1, INTERVAL_S - 0.1, INTERVAL_S, INTERVAL_S + 1.0):
            for note in notes:
                note(error)
    finally:
        caplog.handler.removeFilter(thinned)

    reading = [each for each in caplog.messages if "reading webhooks: " in each]
    assert len(reading) == 2
    assert reading[0].startswith("Kafka at kafka.example:9092, reading webhooks: ")
    assert "(2 more of these since " in reading[1]
    assert len(caplog.messages) == 4


def test_librdkafka_itself_prints_nothing(capfd, caplog):
    settings = KafkaSettings(kafka_url=f"127.0.0.1:{free_ports(1)[0]}")
    config = settings.group_config("readers") | logging_outages(settings, "reading")
    consumer = Consumer(config | {"client.id": "silent"})
    consumer.subscribe(["events"])
    try:
        with caplog.at_level(logging.WARNING):
            until(lambda: consumer.poll(0.1) is None and caplog.messages)
    finally:
        consumer.close()

    # As all of its lines have it; those of other clients in this process are not its own.
    assert "|silent#" not in capfd.readouterr().err
