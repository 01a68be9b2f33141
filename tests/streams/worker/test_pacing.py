"""Time budgets of work that must not delay other work."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.worker import pacing
from streams.worker.pacing import TimeBudget, follow
from tests.patience import patience

SHARE, BURST_S = 0.25, 0.1
STEPS = 4


class Clock:
    """A clock that advances on request."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def work(share: TimeBudget, clock: Clock, seconds: float) -> None:
    with share.spent():
        clock.now_s += seconds


def test_three_of_four_seconds_are_left_worked_by_hand():
    """A burst of 0.1 s is spent by pieces of 0.04 s: 0.1, 0.07, 0.04, 0.01, then -0.02 of credit.

    A piece of 0.04 s earns 0.01 s while it is done, so each lowers the credit by 0.03 s, but for
    the first, while whose credit cannot grow.
    """
    clock = Clock()
    share = TimeBudget(SHARE, BURST_S, clock)
    done = 0
    while share.is_left:
        work(share, clock, 0.04)
        done += 1

    assert done == 4
    clock.now_s += 0.079
    assert not share.is_left
    clock.now_s += 0.002
    assert share.is_left


@given(st.lists(st.tuples(st.floats(1e-4, 0.05), st.floats(0.0, 0.02)), min_size=200, max_size=400))
def test_work_takes_its_share_and_no_more_whatever_a_piece_costs(pieces):
    """Pieces that cost anything, begun as soon as they may, in pauses of any length."""
    clock = Clock()
    share = TimeBudget(SHARE, BURST_S, clock)
    began_s, worked_s = clock.now_s, 0.0
    for cost_s, pause_s in pieces:
        while not share.is_left:
            clock.now_s += 1e-3
        work(share, clock, cost_s)
        worked_s += cost_s
        clock.now_s += pause_s

    assert worked_s <= SHARE * (clock.now_s - began_s) + BURST_S + 0.05


@given(st.floats(1e-4, 0.024))
def test_a_piece_now_and_then_never_waits(cost_s):
    """Ten a second that take less than the share together."""
    clock = Clock()
    share = TimeBudget(SHARE, BURST_S, clock)
    for _ in range(100):
        assert share.is_left
        work(share, clock, cost_s)
        clock.now_s += 0.1 - cost_s


@pytest.mark.parametrize(("at_most", "rest_s"), [(0.5, 0.05), (0.8, 0.0125)])
async def test_steps_that_take_long_rest(at_most, rest_s):
    """Steps of 50 ms with as much rest, or a quarter of it; a busy machine only adds to that."""
    changed, enough = asyncio.Event(), asyncio.Event()
    begun: list[float] = []
    ended: list[float] = []

    async def step() -> None:
        begun.append(time.monotonic())
        await asyncio.sleep(0.05)
        changed.set()
        ended.append(time.monotonic())
        if len(ended) == STEPS:
            enough.set()

    changed.set()
    async with patience():
        following = asyncio.create_task(follow(changed, step, interval_s=0.01, at_most=at_most))
        await enough.wait()
        following.cancel()

    rests = [start - end for start, end in zip(begun[1:], ended, strict=False)]
    assert min(rests) >= 0.9 * rest_s


@pytest.mark.parametrize(
    "error",
    [LogError("LOG_INCOMPLETE", "silent"), DependencyError("kafka", "away"), TimeoutError()],
)
async def test_a_step_that_cannot_reach_what_it_needs_is_tried_again(error, monkeypatch):
    ended: list[str] = []
    monkeypatch.setattr(pacing, "die", ended.append)
    changed, again = asyncio.Event(), asyncio.Event()
    steps = 0

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise error
        again.set()

    changed.set()
    async with patience():
        following = asyncio.create_task(follow(changed, step, interval_s=0.01))
        await again.wait()
        following.cancel()

    assert ended == []


def test_work_is_charged_by_another_clock_where_one_is_given():
    now_s, used_s = [0.0], [0.0]
    share = TimeBudget(SHARE, BURST_S, lambda: now_s[0], lambda: used_s[0])

    with share.spent() as spent:
        now_s[0] += 100 * BURST_S  # waits for the processor
        used_s[0] += BURST_S / 2

    assert spent() == BURST_S / 2
    assert share.is_left
