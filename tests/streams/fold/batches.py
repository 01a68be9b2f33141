"""Batches folded as records of one batch each, and how many records are read together."""

from contextlib import contextmanager

import pytest

from streams.fold import counting, observation_records, verification
from streams.fold.impressions import ImpressionFold
from streams.fold.observation_records import DecodedRecords
from streams.fold.refusals import refusal
from streams.model import receipt_columns
from streams.model.errors import EventError
from streams.tallies.plan import PlanMissingError
from streams.wire.observation_columns import columns_of


def fold_batch(fold, offset, batch, *timestamp_ms):
    """Fold the batch of the record at an offset, and return what could not be counted."""
    if isinstance(fold, ImpressionFold):
        return fold.fold(offset, batch, *timestamp_ms)
    if offset <= fold.last_offset:
        return []
    members = list(enumerate(batch.observations))
    good = [(place, each) for place, each in members if not isinstance(each, EventError)]
    bad = [refusal(place, each) for place, each in members if isinstance(each, EventError)]
    sequences = {} if batch.sequence is None else {0: (batch.incarnation, batch.sequence)}
    folded = fold.fold(
        DecodedRecords([offset], timestamp_ms, columns_of({0: good}), {0: bad}, sequences)
    )
    if folded.awaits is not None:
        raise PlanMissingError(folded.awaits)
    return sorted(folded.refused.get(0, ()), key=lambda each: each.index)


@contextmanager
def vectorized_from(count):
    """Have records read, verified and counted together from so many on; below, one by one."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (observation_records, receipt_columns, verification):
            patch.setattr(module, "VECTORIZED_FROM", count)
        patch.setattr(counting, "TOGETHER_FROM", count)
        yield patch


ONE_BY_ONE = 1 << 60
