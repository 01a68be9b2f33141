"""Records of `observations`: metric values, single or in batches."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.codec import Codec
from streams.domain.receipts import Keyring
from streams.folding.base import Folding, LogRecord
from streams.tallies.observations import ObservationFold
from streams.tallies.partition import Refusal
from streams.wire.observations import decode_observations


class ObservationFolding(Folding[ObservationFold]):
    """Counts metric values, each event once.

    Args:
        codec: How records are framed.
        keyring: Verifies the receipts.
        limit: Events remembered per experiment and partition.
    """

    def __init__(self, codec: Codec, keyring: Keyring, limit: int) -> None:
        self._codec = codec
        self._keyring = keyring
        self._limit = limit

    def new_fold(self, partition: int) -> ObservationFold:
        """Return the state of a partition that nothing was read of."""
        return ObservationFold(partition, self._keyring, limit=self._limit)

    def _fold_record(
        self, fold: ObservationFold, record: LogRecord
    ) -> tuple[int, Sequence[Refusal]]:
        batch = decode_observations(record.value, self._codec)
        return len(batch.observations), fold.fold(record.offset, batch, record.timestamp)
