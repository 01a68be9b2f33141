"""The topic of commands, as the API writes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from schemas.catalogue import EVENT_BYTES
from streams.kafka.producers import RenewableProducer, is_fatal, is_forbidden
from streams.model.errors import DependencyError, InputError
from streams.model.events import Command
from streams.model.ids import experiment_id

MAX_COMMAND_BYTES = EVENT_BYTES - 4_096
"""Largest command: a record of its topic without its key and the headers of Kafka."""

RETRY_AFTER_S = 2

PROBE_TIMEOUT_S = 2.0
"""Longest wait for the description of the topic of commands, in seconds."""

REFUSAL_S = 10.0
"""Time for which a refused command counts against readiness, in seconds. Then the probe decides: an
API that is not ready gets no commands, and would never be ready."""


class KafkaCommandLog:
    """The topic of commands. A producer that failed permanently is replaced with the next command.

    Args:
        config: Addresses and credentials, as librdkafka names them.
        topic: Full name of the topic.
        encode: Makes a record of a command.
        timeout_s: Longest wait for the acknowledgement. A command that was not acknowledged by
            then is given up, so that it does not take effect long after it was refused.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        encode: Callable[[Command], bytes],
        timeout_s: float,
        make: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._topic = topic
        self._encode = encode
        self._timeout_s = timeout_s
        self._admin: AdminClient | None = None
        self._config = dict(config)
        self._refused_until_s = 0.0
        self._refusal = ""
        self._producer = RenewableProducer(
            {
                **config,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": EVENT_BYTES,
                "partitioner": "murmur2_random",
                "message.timeout.ms": max(1, int(timeout_s * 1000)),
            },
            make,
        )

    async def append(self, command: Command) -> None:
        """Return when the command is in the log.

        Raises:
            DependencyError: Kafka did not acknowledge it in time.
            InputError: it is too large for a record (`COMMAND_TOO_LARGE`).
        """
        value = self._encode(command)
        if len(value) > MAX_COMMAND_BYTES:
            message = f"{len(value)} bytes as a command, must be <= {MAX_COMMAND_BYTES}"
            raise InputError("COMMAND_TOO_LARGE", message)
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _: object) -> None:
            if delivered.done():
                return
            if error is None:
                self._refused_until_s = 0.0
                delivered.set_result(None)
            else:
                self._note_refusal(error)
                delivered.set_exception(_unavailable(error.str()))

        try:
            self._producer.produce(
                self._topic,
                value,
                key=experiment_id(command.experiment).encode(),
                on_delivery=on_delivery,
            )
            async with asyncio.timeout(self._timeout_s + 1.0):
                while not delivered.done():
                    self._producer.poll(0)
                    await asyncio.sleep(0.002)
        except KafkaException as error:
            self._note_refusal(error.args[0])
            raise _unavailable(str(error)) from error
        except BufferError as error:
            raise _unavailable(str(error)) from error
        except TimeoutError as error:
            raise _unavailable("no acknowledgement in time") from error
        await delivered

    def probe(self) -> None:
        """Check that commands can be written, without writing one. Blocks.

        Raises:
            DependencyError: Kafka does not answer, has no such topic or does not let this user
                write it, or a command was refused a moment ago.
        """
        if time.monotonic() < self._refused_until_s:
            raise _unavailable(self._refusal)
        if self._admin is None:
            self._admin = AdminClient({**self._config, "log_level": 0})
        try:
            described = self._admin.describe_topics(
                TopicCollection([self._topic]),
                include_authorized_operations=True,
                request_timeout=PROBE_TIMEOUT_S,
            )[self._topic].result(2 * PROBE_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise _unavailable(f"{self._topic}: {error}") from error
        # A broker without authorization reports either everything or nothing.
        allowed = described.authorized_operations
        if allowed and not {AclOperation.WRITE, AclOperation.ALL} & set(allowed):
            raise _unavailable(f"no right to WRITE on the topic {self._topic}")

    def _note_refusal(self, error: KafkaError) -> None:
        if is_fatal(error) or is_forbidden(error):
            self._refusal = error.str()
            self._refused_until_s = time.monotonic() + REFUSAL_S

    async def close(self) -> None:
        """Send what is still queued, briefly."""
        await asyncio.to_thread(self._producer.flush, 1.0)


def _unavailable(reason: str) -> DependencyError:
    return DependencyError(
        "kafka", f"the command could not be written: {reason}", retry_after_s=RETRY_AFTER_S
    )
