"""Dead letters of the records that workers read: logged, counted and sent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import faust
from aiokafka.structs import ConsumerRecord

from streams.fold.dead_letters import dead_letters
from streams.fold.experiment_state import COMMAND_FAILED
from streams.fold.refusals import FOLD_FAILED, Refusal
from streams.fold.writable import ENCODING_FAILED
from streams.model.errors import EventError, counted
from streams.model.events import DeadLetter
from streams.wire.dead_letters import encode_dead_letter
from streams.worker import metrics
from streams.worker.outbox import Outgoing, deliver

_FAILURES = frozenset({COMMAND_FAILED, ENCODING_FAILED, FOLD_FAILED})

logger = logging.getLogger(__name__)


def dead_letter(record: ConsumerRecord, error: EventError) -> DeadLetter:
    """Return the letter of a record that is invalid as a whole."""
    [letter] = dead_letters(record, [Refusal(0, error)])
    return letter


def log_failure(record: ConsumerRecord, error: EventError) -> None:
    """Log a record on which this program has failed, with the traceback; skip sender errors."""
    if error.code in _FAILURES:
        place = record.topic, record.partition, record.offset
        logger.error("%s: %s of partition %d at offset %d", error, *place, exc_info=error.__cause__)


async def send_dead_letters(
    topic: faust.TopicT, letters: Sequence[DeadLetter], timeout_s: float
) -> None:
    """Send letters, and wait until they are durable. A record read twice has the same keys.

    Raises:
        TimeoutError: the broker did not acknowledge a chunk in `timeout_s` seconds.
    """
    if not letters:
        return
    await deliver(
        topic, (Outgoing(_key(letter), encode_dead_letter(letter)) for letter in letters), timeout_s
    )
    counts: Counter[str] = Counter()
    for letter in letters:
        counts[letter.code] += letter.count
    first = {letter.code: letter for letter in reversed(letters)}
    for code, count in counts.items():
        metrics.DEAD_LETTERS.labels(code).inc(count)
        logger.warning(
            "dead letters: %s of %s, %s, the first at partition %d, offset %d",
            counted(count, "event"),
            letters[0].topic,
            code,
            first[code].partition,
            first[code].offset,
        )


def _key(letter: DeadLetter) -> bytes:
    return f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.index}".encode()
