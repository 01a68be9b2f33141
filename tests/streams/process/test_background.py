"""A task that fails is logged, counted, named and restarted; one that cannot run ends it all."""

from __future__ import annotations

import asyncio
import logging

import pytest

from streams.process import background
from streams.process import background as module
from streams.process.background import FAILURES_AT_MOST, SETTLED_S, BackgroundTasks
from tests.patience import patience


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.002)


async def test_a_failed_task_is_named_while_down_and_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, runs, recovered = Clock(), [], asyncio.Event()

    async def run() -> None:
        runs.append(clock())
        if len(runs) < 3:
            raise ZeroDivisionError("broken")
        recovered.set()
        await asyncio.sleep(3600)

    tasks = BackgroundTasks(pytest.fail, clock)
    tasks.start("sweep", run)
    async with patience():
        await recovered.wait()

    assert tasks.failures == {"sweep": 2}
    assert list(tasks.down) == ["sweep"]  # just started again: not believed yet
    clock.now_s += SETTLED_S
    assert list(tasks.down) == []
    assert "the task sweep failed" in caplog.text
    assert "ZeroDivisionError: broken" in caplog.text
    await tasks.stop()


async def test_one_failing_task_leaves_the_others_alone_and_ends_the_process_if_it_goes_on() -> (
    None
):
    ended: list[str] = []
    steps = 0

    async def broken() -> None:
        raise KeyError("x")

    async def steady() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0.001)

    class EndedError(BaseException):
        pass

    def end(reason: str) -> None:
        ended.append(reason)
        raise EndedError

    tasks = BackgroundTasks(end)
    tasks.start("steady", steady)
    tasks.start("broken", broken)
    async with patience():
        while not ended:
            before = steps
            await asyncio.sleep(0.005)
            assert steps > before

    assert ended == [f"the task broken failed {FAILURES_AT_MOST} times in a row"]
    assert tasks.failures == {"steady": 0, "broken": FAILURES_AT_MOST}
    await tasks.stop()


async def test_a_task_that_returns_has_failed_too(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []
    is_back = asyncio.Event()

    async def run() -> None:
        runs.append(1)
        if len(runs) == 2:
            is_back.set()
            await asyncio.sleep(3600)

    with caplog.at_level(logging.ERROR):
        tasks = BackgroundTasks(pytest.fail)
        tasks.start("pump", run)
        async with patience():
            await is_back.wait()

    assert "the task pump returned" in caplog.text
    await tasks.stop()


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again(monkeypatch) -> None:
    """As asyncio.wait_for does before Python 3.12, when what it waits for has just ended."""
    monkeypatch.setattr(background, "CANCEL_AGAIN_S", 0.01)
    swallowed: list[str] = []

    async def run() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append("one")

    tasks = BackgroundTasks(pytest.fail)
    tasks.start("look", run)
    await asyncio.sleep(0)
    async with patience():
        await tasks.stop()

    assert swallowed == ["one"]
