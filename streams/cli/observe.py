"""`experiment observe`: observations by unit from a Kafka topic, or from lines of JSON."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from experiment_streams_client import ApiError, ExperimentClient
from schemas.catalogue import DEAD_LETTERS
from streams.cli import terminal
from streams.cli.posting import members_of_file, post_members, post_with
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson
from streams.kafka.outages import logging_outages
from streams.model.errors import DependencyError, InputError
from streams.model.events import DeadLetter
from streams.ops.unit_observations import (
    READ_TOGETHER,
    UnitObservationResolver,
)
from streams.process.logs import configure_logging
from streams.process.outages import outage
from streams.settings import Settings
from streams.wire.dead_letters import encode_dead_letter

OBSERVATIONS_PATH = "/observations"

POLL_S = 1.0
PAUSE_S = 1.0
"""Pause before records are posted again that the API could not take."""

_PASSING = {terminal.NO_ANSWER, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

logger = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(observe)


def observe(
    file: Annotated[
        Path | None,
        typer.Argument(help="File with an observation in each line; - for standard input."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Kafka topic to read for good, instead of a file.")
    ] = None,
    group: Annotated[
        str, typer.Option(help="Consumer group of the processes that share the topic.")
    ] = "experiment-observe",
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Record observations by user, session or assignment: JSON as `POST /observations` takes it.

    Of a file, those that are refused are printed, and the exit code is 1. Of a topic they become
    dead letters; offsets are committed once the others are durable, and what is read again counts
    once.
    """
    if (file is None) == (topic is None):
        raise InputError("MISSING_FIELD", "name a file, or a topic with --topic", "file")
    with terminal.connected(api, api_key) as client:
        if topic is not None:
            _follow(terminal.settings_of(api), topic, group, client)
        elif file is not None:
            post_members(client, OBSERVATIONS_PATH, members_of_file(file), as_json=as_json)


def _follow(settings: Settings, topic: str, group: str, client: ExperimentClient) -> None:
    """Post the records of a topic until the process is interrupted or terminated."""
    configure_logging(settings.log_level)
    # As by Ctrl-C: a member that leaves its group has no successor wait for its session to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    consumer = Consumer(
        settings.group_config(group) | logging_outages(settings, f"reading {topic}")
    )
    letters = Producer(settings.confluent_config() | {"enable.idempotence": True, "log_level": 0})
    target = DEAD_LETTERS.full_name(settings.topic_prefix)

    failed: list[KafkaError] = []

    def note(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    def refuse(letter: DeadLetter) -> None:
        place = f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.index}"
        record = encode_dead_letter(letter)
        letters.produce(target, record, key=place.encode(), on_delivery=note)
        letters.poll(0)

    def flush(timeout_s: float) -> int:
        return letters.flush(timeout_s) + len(failed)

    resolver = UnitObservationResolver(
        lambda fields: post_with(client, OBSERVATIONS_PATH, fields), refuse
    )
    consumer.subscribe([topic])
    try:
        while True:
            resolve_next(consumer, resolver, flush)
    except KeyboardInterrupt:
        raise typer.Exit from None
    finally:
        consumer.close()


def resolve_next(
    consumer: Consumer, resolver: UnitObservationResolver, flush: Callable[[float], int]
) -> None:
    """Read some records, have them resolved however long that takes, and commit their offsets.

    Args:
        consumer, resolver: Where records are read, and what posts them.
        flush: Waits up to some seconds until dead letters are durable, and returns how many are
            not.

    Raises:
        ApiError: the API refuses the caller, or the server is not the API: a retry cannot succeed.
        DependencyError: Kafka does not take the dead letters.
    """
    messages = consumer.consume(READ_TOGETHER, POLL_S)
    good = [each for each in messages if each.error() is None]
    for each in messages:
        if each.error() is not None:
            logger.warning("Kafka: %s", each.error())
    if not good:
        return
    while True:
        try:
            resolver.resolve(good)
            break
        except ApiError as error:
            if not (error.status in _PASSING or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR):
                raise
            logger.warning("the API takes nothing now: %s", error, extra=outage("api"))
            time.sleep(PAUSE_S)
    if flush(30.0):
        raise DependencyError("kafka", "dead letters are not acknowledged")
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:  # the partition is another process's now, which reads it again
        logger.warning("offsets were not committed: %s", error)
