"""Any log in any batches: the same state."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams.fold.batches import fold_batch
from tests.streams.fold.logs import KINDS, run, state

pytestmark = pytest.mark.usefixtures("small_bounds")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), taken_after=st.sets(st.integers(0, 15)))
@settings(max_examples=40)
def test_batching_does_not_change_the_result(kind, data, taken_after):
    strategy, make = KINDS[kind]
    records = data.draw(strategy)
    whole, _ = run(make, records)
    fold = make()

    for offset, record in enumerate(records):
        fold_batch(fold, offset, *record)
        if offset in taken_after:
            fold.take_changes()

    assert state(fold) == state(whole)
