"""Records of `impressions`: batches of units assigned."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.codec import Codec
from streams.folding.base import Folding, LogRecord
from streams.tallies.impressions import ImpressionFold
from streams.tallies.partition import Refusal
from streams.tallies.plan import PlanOf
from streams.wire.impressions import decode_impression_batch


class ImpressionFolding(Folding[ImpressionFold]):
    """Counts the units assigned.

    Args:
        codec: How records are framed.
        limit: Units remembered per experiment and partition.
        plan_of: Gives what is kept of every experiment.
    """

    def __init__(self, codec: Codec, limit: int, plan_of: PlanOf) -> None:
        self._codec = codec
        self._limit = limit
        self._plan_of = plan_of

    def new_fold(self, partition: int) -> ImpressionFold:
        """Return the state of a partition that nothing was read of."""
        return ImpressionFold(partition, limit=self._limit, plan_of=self._plan_of)

    def _fold_record(
        self, fold: ImpressionFold, record: LogRecord
    ) -> tuple[int, Sequence[Refusal]]:
        batch = decode_impression_batch(record.value, self._codec)
        events = sum(len(group.variants) for group in batch.groups)
        return events, fold.fold(record.offset, batch)
