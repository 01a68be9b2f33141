"""Observations in a partition that their receipts do not belong to: of another partitioner.

They are never counted where they are, since the same event may be in the partition of its receipt
as well, and only that one would notice. A copy is sent there. It has the time of the original, and
where that had no event id the origin takes its place: so a copy counts once, however often it is
made, and a replay, which meets the original and its copies, counts what the workers counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streams.model.events import Observation


@dataclass(frozen=True, slots=True)
class MisplacedObservation:
    """An observation that was read from a partition other than its receipt's.

    Attributes:
        partition: Where it belongs.
        origin: Where it was read, as `topic:partition:offset:index`, the topic without prefix.
        timestamp_ms: Kafka timestamp of the record it was read in.
        observation: What is to be sent to `partition`.
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
