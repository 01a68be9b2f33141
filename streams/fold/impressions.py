"""Records of `impressions`: batches of units assigned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schemas.codec import Codec
from streams.fold.base import Folding, FoldResult, LogRecord, decoded, empty, never
from streams.model.events import ImpressionBatch
from streams.model.receipts import Keyring
from streams.tallies.impressions import ImpressionFold, Listener
from streams.tallies.partition import Refusal
from streams.tallies.plan import PlanMissingError, PlanOf
from streams.tallies.refusals import by_code, refusal
from streams.wire.batch_tags import check_tag
from streams.wire.experiment_ends import decode_experiment_end, is_experiment_end
from streams.wire.impressions import decode_impression_batch


class ImpressionFolding(Folding[ImpressionFold]):
    """Counts the units assigned.

    Args:
        codec: How records are framed.
        keyring: Verifies the tags of the batches.
        limit: Units remembered per experiment and partition.
        plan_of: Gives what is kept of every experiment.
        only: The one experiment whose impressions are counted; None for all.
        listener: Called with what was counted.
    """

    def __init__(
        self,
        codec: Codec,
        keyring: Keyring,
        limit: int,
        plan_of: PlanOf,
        *,
        only: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._codec = codec
        self._keyring = keyring
        self._limit = limit
        self._plan_of = plan_of
        self._only = only
        self._listener = listener

    def new_fold(self, partition: int) -> ImpressionFold:
        """Return the state of a partition that nothing was read of."""
        return ImpressionFold(
            partition,
            limit=self._limit,
            plan_of=self._plan_of,
            only=self._only,
            listener=self._listener,
        )

    def fold(
        self,
        fold: ImpressionFold,
        records: Sequence[LogRecord],
        is_due: Callable[[], bool] = never,
    ) -> FoldResult:
        """Fold records that follow each other; those at or below `fold.last_offset` are passed by.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Asked after every record whether to pause.
        """
        result = FoldResult()
        for index, record in enumerate(records):
            try:
                events, refusals = self._fold_record(fold, record)
            except PlanMissingError as error:
                result.awaits = error.experiment
                break
            except Exception as error:  # noqa: BLE001 - one record must not end a process
                fold.skip(record.offset)
                events, refusals = 1, (refusal(0, error),)
            result.events += events
            if refusals:
                result.refused.append((index, by_code(refusals)))
            if is_due():
                result.is_paused = index + 1 < len(records)
                break
        return result

    def _fold_record(
        self, fold: ImpressionFold, record: LogRecord
    ) -> tuple[int, Sequence[Refusal]]:
        if is_experiment_end(record.value):
            ended = decode_experiment_end(record.value, self._keyring, fold.source, fold.partition)
            fold.end(record.offset, ended)
            return 1, ()
        batch = decoded(self._decode, record)
        assert record.value is not None  # noqa: S101 - it has been decoded
        check_tag(self._keyring, fold.source, fold.partition, record.value)
        events = sum(len(group.variants) for group in batch.groups)
        if not events:
            raise empty()
        return events, fold.fold(record.offset, batch, record.timestamp)

    def _decode(self, value: bytes | None) -> ImpressionBatch:
        return decode_impression_batch(value, self._codec)
