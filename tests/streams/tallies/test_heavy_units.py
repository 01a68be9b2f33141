"""Units with the most observations: those that an exact count of all units finds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold import counting, exposed_units
from streams.fold.observations import ObservationFold
from streams.model.events import EXPOSURE, Observation, ObservationBatch
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring, Receipt
from streams.model.voids import void_metric
from streams.tallies.heavy_units import MAX_HEAVY, HeavyUnit, heaviest, noted
from streams.tallies.merging import merge
from streams.tallies.plan import Plan
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import fold_batch

KEYRING = Keyring({1: bytes(range(32))})
NOW_MS = 1_700_000_000_000
VOID = void_metric("bot")
FROM = 2


def receipt(unit: int) -> Receipt:
    return Receipt(7, unit % 2, 1 << 31, 1, NOW_MS, unit, 0)


def observed(unit: int, metric: str) -> Observation:
    return Observation(KEYRING.sign(receipt(unit)), metric, MICRO, None, NOW_MS + 1)


def test_the_most_are_kept_with_their_newest_counts() -> None:
    def unit(name: str, events: int) -> HeavyUnit:
        return HeavyUnit(name, "click", 1, events)

    before = [unit("a", 9), unit("b", 7), unit("c", 7)]
    new = {each.key: each for each in (unit("c", 8), unit("d", 7))}

    assert noted(before, new, {"a"}) == (
        unit("a", 9)._replace(is_voided=True),
        unit("c", 8),
        unit("b", 7),
        unit("d", 7),
    )
    many = [unit(f"{n:02}", 100 + n) for n in range(40)]
    assert [each.events for each in heaviest(many)] == list(range(139, 139 - MAX_HEAVY, -1))


@pytest.mark.parametrize("by_exposure", [False, True])
@settings(max_examples=30, deadline=None)
@given(
    events=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["click", "view", "click", VOID])),
        max_size=120,
    ),
    size=st.integers(1, 50),
    takes=st.randoms(use_true_random=False),
)
def test_they_are_those_of_an_exact_count_however_the_log_is_cut(
    by_exposure: bool, events: list[tuple[int, str]], size: int, takes: object
) -> None:
    voided: set[int] = set()
    counts: Counter[tuple[int, str]] = Counter()
    for unit, metric in events:
        if metric == VOID:
            voided.add(unit)
        elif unit not in voided:
            counts[unit, metric] += 1
    plan = Plan(by_exposure=by_exposure)
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "HEAVY_FROM", FROM)
        patch.setattr(exposed_units, "HEAVY_FROM", FROM)
        read = [observed(*event) for event in events]
        if by_exposure:
            read = [observed(unit, EXPOSURE) for unit in range(31)] + read
        for offset, start in enumerate(range(0, len(read), size)):
            batch = ObservationBatch(tuple(read[start : start + size]))
            fold_batch(fold, offset, batch, NOW_MS + 1)
            if takes.random() < 0.5:  # type: ignore[attr-defined]
                fold.take_changes()
    fold.take_changes()
    cells = [decode_cell(encode_cell(cell)) for cell in fold.cells]

    expected = [
        HeavyUnit(KEYRING.sign(receipt(unit)), metric, unit, count, unit in voided)
        for (unit, metric), count in counts.items()
        if count >= FROM
    ]
    found = merge(cells).heavy
    # Which of equal counts are there does not matter; a voided unit may have been skipped.
    assert [each.events for each in found] == [each.events for each in heaviest(expected)]
    assert {each for each in found if not each.is_voided} <= set(expected)
