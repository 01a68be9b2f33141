"""The agent over `observations`: counts metric values, each event once."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord

from schemas.codec import Codec
from streams.domain.receipts import Keyring
from streams.engine.emitter import CellEmitter
from streams.engine.tally_stage import TallyStage
from streams.tallies.observations import ObservationFold
from streams.tallies.partition import Refusal
from streams.wire.observations import decode_observations


class ObservationStage(TallyStage[ObservationFold]):
    """Folds observations, single or in batches.

    Args:
        topic: Name of the source topic.
        emitter: Takes the cells that are durable.
        codec: How records are framed.
        keyring: Verifies the receipts.
        limit: Events remembered per experiment and partition.
    """

    def __init__(
        self, topic: str, emitter: CellEmitter, codec: Codec, keyring: Keyring, limit: int
    ) -> None:
        super().__init__(topic, emitter)
        self._codec = codec
        self._keyring = keyring
        self._limit = limit

    def _new_fold(self, partition: int) -> ObservationFold:
        return ObservationFold(partition, self._keyring, limit=self._limit)

    def _fold(self, fold: ObservationFold, record: ConsumerRecord) -> tuple[int, Sequence[Refusal]]:
        batch = decode_observations(record.value, self._codec)
        return len(batch.observations), fold.fold(record.offset, batch, record.timestamp)
