"""`experiment observe`: observations by unit from a Kafka topic, or from lines of JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from experiment_streams_client import Accepted, ApiError, ExperimentClient
from experiment_streams_client.calls import Call
from schemas.catalogue import DEAD_LETTERS
from streams.cli import terminal
from streams.cli.terminal import API_DEFAULT, Api, ApiKey
from streams.model.errors import DependencyError, EventError, InputError
from streams.model.events import DeadLetter
from streams.ops.unit_observations import (
    POSTED_TOGETHER,
    READ_TOGETHER,
    Refused,
    UnitObservationResolver,
    decoded,
)
from streams.settings import Settings
from streams.wire.dead_letters import encode_dead_letter

STDIN = Path("-")
POLL_S = 1.0
PAUSE_S = 1.0
"""Pause before records are posted again that the API could not take."""

_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Answers that are about what was sent. 404 is one if the API itself says so: else its address is
wrong."""

_PASSING = {terminal.NO_ANSWER, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


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
        elif file is not None and _read(file, client):
            raise typer.Exit(1)


def post_with(client: ExperimentClient, fields: Sequence[Mapping[str, Any]]) -> list[Refused]:
    """Post observations, and return which were refused.

    Raises:
        ApiError: some may not have been taken, for a reason that has nothing to do with them.
    """
    call = Call("POST", "/observations", Accepted.model_validate, [*fields])
    try:
        taken = client.send(call)
    except ApiError as error:
        if error.status not in _REFUSALS and error.code != "EXPERIMENT_NOT_FOUND":
            raise
        if len(fields) == 1:
            return [Refused(0, error.code, error.path.removeprefix("[0]."), error.message)]
        half = len(fields) // 2  # the answer names the first alone, or none
        first, second = (post_with(client, part) for part in (fields[:half], fields[half:]))
        return first + [
            Refused(half + each.index, each.code, each.path, each.message) for each in second
        ]
    return [
        Refused(each.index, each.code, each.path.removeprefix(f"[{each.index}]."), each.message)
        for each in taken.rejected
    ]


def _read(file: Path, client: ExperimentClient) -> int:
    """Post the lines of a file, print those that are refused, and return how many these are."""
    text = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    lines = [line for line in text.splitlines() if line.strip()]
    n_refused = 0
    for start in range(0, len(lines), POSTED_TOGETHER):
        some = lines[start : start + POSTED_TOGETHER]
        for each in post_with(client, [_parsed(line) for line in some]):
            n_refused += 1
            place = {"line": start + each.index + 1, "code": each.code, "path": each.path}
            terminal.print_json({**place, "message": each.message})
    terminal.echo(f"{len(lines) - n_refused} taken, {n_refused} refused", err=True)
    return n_refused


def _parsed(line: bytes) -> Any:
    try:
        return decoded(line)
    except EventError:
        return None  # which the API refuses


def _follow(settings: Settings, topic: str, group: str, client: ExperimentClient) -> None:
    """Post the records of a topic until the process is interrupted."""
    config = settings.confluent_config()
    consumer = Consumer(
        config
        | {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        | {"isolation.level": "read_committed"}
    )
    letters = Producer(config | {"enable.idempotence": True})
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

    resolver = UnitObservationResolver(lambda fields: post_with(client, fields), refuse)
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
        ApiError: the API refuses the caller, or is none: another attempt would end the same way.
        DependencyError: Kafka does not take the dead letters.
    """
    messages = consumer.consume(READ_TOGETHER, POLL_S)
    good = [each for each in messages if each.error() is None]
    for each in messages:
        if each.error() is not None:
            terminal.echo(f"Kafka: {each.error()}", err=True)
    if not good:
        return
    while True:
        try:
            resolver.resolve(good)
            break
        except ApiError as error:
            if not (error.status in _PASSING or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR):
                raise
            terminal.echo(f"the API takes nothing now: {error}", err=True)
            time.sleep(PAUSE_S)
    if flush(30.0):
        raise DependencyError("kafka", "dead letters are not acknowledged")
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:  # the partition is another process's now, which reads it again
        terminal.echo(f"offsets were not committed: {error}", err=True)
