"""The agent over `impressions`: counts the units assigned."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord

from schemas.codec import Codec
from streams.engine.emitter import CellEmitter
from streams.engine.tally_stage import TallyStage
from streams.tallies.impressions import ImpressionFold
from streams.tallies.partition import Refusal
from streams.wire.impressions import decode_impression_batch


class ImpressionStage(TallyStage[ImpressionFold]):
    """Folds batches of impressions.

    Args:
        topic: Name of the source topic.
        emitter: Takes the cells that are durable.
        codec: How records are framed.
        limit: Units remembered per experiment and partition.
    """

    def __init__(self, topic: str, emitter: CellEmitter, codec: Codec, limit: int) -> None:
        super().__init__(topic, emitter)
        self._codec = codec
        self._limit = limit

    def _new_fold(self, partition: int) -> ImpressionFold:
        return ImpressionFold(partition, limit=self._limit)

    def _fold(self, fold: ImpressionFold, record: ConsumerRecord) -> tuple[int, Sequence[Refusal]]:
        batch = decode_impression_batch(record.value, self._codec)
        events = sum(len(group.variants) for group in batch.groups)
        return events, fold.fold(record.offset, batch)
