"""Time for which the progress of the workers is watched."""

from __future__ import annotations

import pytest

from streams.kafka import progress
from streams.kafka.positions import Positions
from streams.kafka.progress import Patience, watch
from streams.kafka.records import OffsetRange
from streams.settings import Settings


class Clock:
    """A clock that its sleepers advance."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


SPANS = {"observations": {0: OffsetRange(0, 9), 1: OffsetRange(4, 4)}}


@pytest.mark.parametrize(
    ("positions", "looks", "took_s"),
    [
        ([{("observations", 0): 9}], 1, 0.0),  # an empty partition needs no commit
        ([{}, {("observations", 0): 5}, {("observations", 0): 9}], 3, 0.1 + 0.2),
        ([{("observations", 0): 5}], 7, 4.0),  # 0.1 + 0.2 + 0.4 + 0.8 + 1.6, and what is left
    ],
)
async def test_workers_are_watched_until_they_have_all_or_had_the_time_for_it(
    monkeypatch, positions, looks, took_s
):
    clock = Clock()
    seen: list[Positions] = []
    monkeypatch.setattr("asyncio.sleep", clock.sleep)

    def look(*_: object) -> Positions:
        seen.append(positions[min(len(seen), len(positions) - 1)])
        return seen[-1]

    monkeypatch.setattr(progress, "past_markers", look)
    patience = Patience(1.0, clock)
    assert await watch(Settings(), SPANS, patience) == seen[-1]
    assert len(seen) == looks
    assert clock.now_s - 100.0 == pytest.approx(took_s)
    assert patience.left_s == pytest.approx(4.0 - took_s)
