"""Changes are handled at once when idle, and at most once an interval under load."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from streams.process.cadence import REMEMBERED_S, Cadence, until_due
from tests.patience import patience

INTERVAL_S = 0.1
NEVER_S = 3_600.0


class Clock:
    """A clock that advances on request."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_both_edges_of_one_key_worked_by_hand():
    """Changes at 0, 30, 60 and 250 ms are handled at 0 (leading), 100 (trailing) and 250 ms."""
    clock = Clock()
    cadence: Cadence[str] = Cadence(INTERVAL_S, clock)
    assert cadence.due(["a"]) == ["a"]
    assert cadence.wait_s(["a"]) == 0.0
    cadence.handled("a")

    clock.now_s = 1_000.03
    assert cadence.due(["a"]) == []
    assert round(cadence.wait_s(["a"]) or 0.0, 9) == 0.07
    clock.now_s = 1_000.06
    assert round(cadence.wait_s(["a"]) or 0.0, 9) == 0.04
    clock.now_s = 1_000.1001
    assert cadence.due(["a"]) == ["a"]
    cadence.handled("a")

    clock.now_s = 1_000.25
    assert cadence.due(["a"]) == ["a"]
    assert cadence.wait_s([]) is None


def test_a_busy_key_does_not_make_an_idle_one_wait():
    clock = Clock()
    cadence: Cadence[str] = Cadence(INTERVAL_S, clock)
    cadence.handled("busy")
    clock.now_s += INTERVAL_S / 2

    assert cadence.due(["busy", "idle"]) == ["idle"]
    assert cadence.wait_s(["busy", "idle"]) == 0.0


def test_busy_keys_share_the_ends_of_their_intervals_worked_by_hand():
    """On a grid of 20 ms, what was handled at 1 and at 18 ms is due at 120 ms, an idle one now."""
    clock = Clock()
    clock.now_s = 1_000.001
    cadence: Cadence[str] = Cadence(INTERVAL_S, clock, grid_s=0.02)
    cadence.handled("a")
    clock.now_s = 1_000.018
    cadence.handled("b")

    clock.now_s = 1_000.11
    assert cadence.due(["b", "a", "idle"]) == ["idle"]
    assert round(cadence.wait_s(["a", "b"]) or 0.0, 9) == 0.01
    clock.now_s = 1_000.1200001
    assert cadence.due(["b", "a"]) == ["a", "b"]


def test_where_not_all_that_is_due_is_handled_the_idle_are_first_and_the_busy_take_turns():
    """One of four keys is handled an interval: each of the busy ones at every third."""
    clock = Clock()
    cadence: Cadence[str] = Cadence(INTERVAL_S, clock)
    order = []
    for _ in range(9):
        first = cadence.due(["a", "b", "c"])[0]
        cadence.handled(first)
        order.append(first)
        clock.now_s += 2 * INTERVAL_S
    assert "".join(order) == "abcabcabc"

    assert cadence.due(["c", "b", "a", "idle"]) == ["idle", "a", "b", "c"]


def test_what_has_failed_is_due_at_once_again():
    cadence: Cadence[str] = Cadence(INTERVAL_S, Clock())
    for key in "ab":
        cadence.handled(key)

    cadence.failed(["b", "unknown"])

    assert cadence.due(["a", "b"]) == ["b"]


def test_what_was_handled_long_ago_is_forgotten():
    clock = Clock()
    cadence: Cadence[int] = Cadence(INTERVAL_S, clock)
    for key in range(1_000):
        cadence.handled(key)
        clock.now_s += 1.0

    assert len(cadence._handled_s) <= REMEMBERED_S + 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=120),
    st.integers(0, 60),
    st.integers(1, 12),
    st.integers(0, 25),
)
def test_no_change_waits_longer_than_the_interval_and_no_key_is_handled_more_often(
    changes, interval_ms, step_ms, grid_ms
):
    """Changes of four keys at any times, looked at as often as `wait_s` says or every few ms.

    The clock counts whole milliseconds, so sums of times are exact. On a grid a change may wait for
    its next point.
    """
    clock = Clock()
    cadence: Cadence[int] = Cadence(interval_ms, clock, grid_s=grid_ms)
    longest_ms = interval_ms + max(0, grid_ms - 1)
    waiting: dict[int, float] = {}
    handled: defaultdict[int, list[float]] = defaultdict(list)
    changed: defaultdict[int, list[float]] = defaultdict(list)

    def handle() -> None:
        for key in cadence.due(waiting):
            assert clock.now_s - waiting.pop(key) <= longest_ms
            cadence.handled(key)
            handled[key].append(clock.now_s)

    def wait(until_s: float) -> None:
        while (left_s := cadence.wait_s(waiting)) is not None:
            if clock.now_s + left_s > until_s:
                break
            clock.now_s += left_s
            handle()
        clock.now_s = until_s

    for key, pause in changes:
        changed[key].append(clock.now_s)
        waiting.setdefault(key, clock.now_s)
        is_idle = not handled[key] or handled[key][-1] + longest_ms <= clock.now_s
        handle()
        assert not is_idle or handled[key][-1] == clock.now_s, "an idle one is handled at once"
        for _ in range(0, pause, step_ms):
            wait(clock.now_s + min(step_ms, pause))
    wait(clock.now_s + longest_ms)

    assert not waiting
    for key, times in changed.items():
        assert handled[key][-1] >= times[-1], "the last change is not left behind"
        gaps = [b - a for a, b in zip(handled[key], handled[key][1:], strict=False)]
        assert min(gaps, default=interval_ms) >= interval_ms


async def test_what_is_due_is_not_waited_for_and_what_comes_meanwhile_ends_the_wait():
    """No interval ends here: it is an hour."""
    changed = asyncio.Event()
    cadence: Cadence[str] = Cadence(NEVER_S)
    waiting = {"a": None}
    async with patience():
        await until_due(changed, lambda: cadence.wait_s(waiting))
        cadence.handled("a")
        is_waiting = asyncio.create_task(until_due(changed, lambda: cadence.wait_s(waiting)))
        changed.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not is_waiting.done()
        waiting["b"] = None
        changed.set()
        await is_waiting

    assert not changed.is_set()
    assert cadence.due(waiting) == ["b"]


async def test_a_wait_ends_after_its_time():
    cadence: Cadence[str] = Cadence(0.01)
    cadence.handled("a")
    async with patience():
        await until_due(asyncio.Event(), lambda: cadence.wait_s(["a"]))
    assert cadence.due(["a"]) == ["a"]
