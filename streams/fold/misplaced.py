"""Observations in the wrong partition, written with a different partitioner.

They are never counted there, since the same event may also be in the partition of its receipt,
where duplicates are detected. A copy is sent to that partition. It has the time of the original
and, without an event id, its origin as the id: so repeated copies count once, and a replay, which
reads the original and its copies, counts the same as the workers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streams.model.events import Observation


@dataclass(frozen=True, slots=True)
class MisplacedObservation:
    """An observation that was read from a partition other than its receipt's.

    Attributes:
        partition: Partition of its receipt.
        origin: Where it was read, as `topic:partition:offset:index`, the topic without prefix.
        timestamp_ms: Kafka timestamp of the record it was read in.
        observation: Observation to send to `partition`.
    """

    partition: int
    origin: str
    timestamp_ms: int
    observation: Observation


def misplaced(
    observation: Observation, partition: int, origin: str, timestamp_ms: int
) -> MisplacedObservation:
    """Return an observation as it is sent to its partition."""
    copy = replace(
        observation,
        event_id=origin if observation.event_id is None else observation.event_id,
        observed_at_ms=(
            max(0, timestamp_ms)
            if observation.observed_at_ms is None
            else observation.observed_at_ms
        ),
    )
    return MisplacedObservation(partition, origin, timestamp_ms, copy)
