"""Home partitions of records that are keyed by experiment: `commands` and `tallies`.

All records of an experiment are in the partition of its id, so one worker has its state. A record
in another partition, by a different partitioner or a wrong key, would begin a second state of the
same experiment there, and conclude it a second time.
"""

from __future__ import annotations

from streams.model.errors import EventError
from streams.model.ids import experiment_id
from streams.model.partitioning import Partition, partition_of

MISPLACED = "MISPLACED"


def home_of(experiment: int, partitions: int) -> int:
    """Return the partition of an experiment in a topic of `partitions` partitions, from 0."""
    return partition_of(experiment_id(experiment).encode(), partitions)


def check_home(experiment: int, partition: Partition) -> None:
    """Refuse a record of an experiment in a partition other than that of the experiment.

    Raises:
        EventError: `MISPLACED`.
    """
    home = home_of(experiment, partition.total)
    if home != partition.number:
        raise EventError(
            MISPLACED,
            f"{experiment_id(experiment)} belongs into partition {home} of {partition.total}; "
            "producers must set the experiment id as the key and partitioner=murmur2_random",
            "experimentId",
        )
