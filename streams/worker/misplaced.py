"""Observations that another partitioner put into the wrong partition, sent on to theirs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import faust

from schemas.codec import Codec
from streams.model.events import DeadLetter
from streams.tallies.misplaced import Misplaced
from streams.wire.observations import encode_observation
from streams.worker import metrics
from streams.worker.outbox import Outgoing, deliver

MOVED_FROM = "moved-from"
"""Header of a copy; its value is where the original was read."""

CHUNK = 2_000
"""Copies that are on their way at a time."""

logger = logging.getLogger(__name__)


async def send_to_their_partitions(
    topic: faust.TopicT, found: Sequence[Misplaced], codec: Codec, timeout_s: float
) -> None:
    """Return once the copies are durable. One sent twice has the same event id, so it counts once.

    Raises:
        TimeoutError: the broker did not take so many of them in `timeout_s` seconds.
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


def letters_of(found: Sequence[Misplaced], topic: str, codec: Codec) -> list[DeadLetter]:
    """Return what becomes of observations that this worker has no right to move.

    Args:
        found: The observations.
        topic: Full name of the topic of observations.
        codec: How records are framed.
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
                code="MISPLACED",
                message=f"the assignment id belongs into partition {each.partition}, and this "
                f"worker may not write {topic}",
                path="assignmentId",
                key=each.observation.assignment_id.encode(),
                value=encode_observation(each.observation, codec),
            )
        )
    return letters


def _record(each: Misplaced, codec: Codec) -> Outgoing:
    return Outgoing(
        key=each.observation.assignment_id.encode(),
        value=encode_observation(each.observation, codec),
        partition=each.partition,
        timestamp_ms=each.timestamp_ms if each.timestamp_ms >= 0 else None,
        headers={MOVED_FROM: each.origin.encode()},
    )
