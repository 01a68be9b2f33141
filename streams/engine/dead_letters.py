"""Events that cannot be used, kept with their place and their bytes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import faust
from aiokafka.structs import ConsumerRecord

from streams.domain.errors import EventError
from streams.domain.events import DeadLetter
from streams.engine import metrics
from streams.engine.outbox import Outgoing, deliver
from streams.wire.dead_letters import encode_dead_letter

logger = logging.getLogger(__name__)


def dead_letter(record: ConsumerRecord, error: EventError, index: int = 0) -> DeadLetter:
    """Return the dead letter of a record, or of the event at `index` of its batch."""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        index=index,
        timestamp_ms=record.timestamp,
        code=error.code,
        message=error.message,
        path=error.path,
        key=record.key,
        value=record.value,
    )


async def send_dead_letters(
    topic: faust.TopicT, letters: Sequence[DeadLetter], timeout_s: float
) -> None:
    """Return once the letters are durable. One read twice has the same key, so it can be told.

    Raises:
        TimeoutError: the broker did not take them in `timeout_s` seconds.
    """
    if not letters:
        return
    records = [Outgoing(_key(letter), encode_dead_letter(letter)) for letter in letters]
    await deliver(topic, records, timeout_s)
    for code, count in Counter(letter.code for letter in letters).items():
        metrics.DEAD_LETTERS.labels(code).inc(count)
        logger.warning("%d events of %s are dead letters: %s", count, letters[0].topic, code)


def _key(letter: DeadLetter) -> bytes:
    return f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.index}".encode()
