"""Forwarding of observations that a different partitioner put into the wrong partition."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import faust

from schemas.codec import Codec
from streams.fold.misplaced import MisplacedObservation
from streams.model.events import DeadLetter
from streams.wire.homes import MISPLACED
from streams.wire.observations import encode_observation
from streams.worker import metrics
from streams.worker.outbox import Outgoing, deliver

MOVED_FROM = "moved-from"
"""Header of a copy; its value is the place of the original."""

CHUNK = 2_000
"""Copies sent at a time."""

logger = logging.getLogger(__name__)


async def send_to_their_partitions(
    topic: faust.TopicT, found: Sequence[MisplacedObservation], codec: Codec, timeout_s: float
) -> None:
    """Send copies, and wait until they are durable. A repeated copy has the same event id.

    Raises:
        TimeoutError: the broker did not acknowledge a chunk in `timeout_s` seconds.
    """
    for start in range(0, len(found), CHUNK):
        copies = [_record(each, codec) for each in found[start : start + CHUNK]]
        await deliver(topic, copies, timeout_s)
    if found:
        metrics.MISPLACED.inc(len(found))
        logger.warning(
            "%d observations were in another partition than their receipt belongs into, first %s, "
            "and were moved; producers must set partitioner=murmur2_random",
            len(found),
            found[0].origin,
        )


def letters_of(found: Sequence[MisplacedObservation], topic: str, codec: Codec) -> list[DeadLetter]:
    """Return dead letters of observations that this worker has no right to forward.

    Args:
        found: The observations.
        topic: Full name of the topic of observations.
        codec: Encodes records.
    """
    letters = []
    for each in found:
        _, partition, offset, index = each.origin.rsplit(":", 3)
        letters.append(
            DeadLetter(
                topic=topic,
                partition=int(partition),
                offset=int(offset),
                index=int(index),
                timestamp_ms=each.timestamp_ms,
                code=MISPLACED,
                message=f"the assignment id belongs into partition {each.partition}, and this "
                f"worker may not write {topic}",
                path="assignmentId",
                key=each.observation.assignment_id.encode(),
                value=encode_observation(each.observation, codec),
            )
        )
    return letters


def _record(each: MisplacedObservation, codec: Codec) -> Outgoing:
    return Outgoing(
        key=each.observation.assignment_id.encode(),
        value=encode_observation(each.observation, codec),
        partition=each.partition,
        timestamp_ms=each.timestamp_ms if each.timestamp_ms >= 0 else None,
        headers={MOVED_FROM: each.origin.encode()},
    )
