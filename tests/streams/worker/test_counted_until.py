"""The time by which everything is counted is that of positions, and of no clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from streams.kafka.progress import Spans
from streams.kafka.records import OffsetRange
from streams.model.errors import DependencyError
from streams.settings import Settings
from streams.worker import counted_until as module
from streams.worker.counted_until import CountedUntil
from tests.patience import until_true

SETTINGS = Settings(partitions=1)
PARTITION = 0


class Log:
    """A log of which the ends and the positions of the workers are set by a test.

    Attributes:
        ends, positions: By topic.
        asked: Topics whose ends were asked for, in order.
        failures: Raised by the next looks at the positions, one each.
    """

    def __init__(self) -> None:
        self.ends = {"impressions": 5, "observations": 7, "tallies": 3}
        self.positions = {"impressions": 5, "observations": 7, "tallies": 3}
        self.asked: list[str] = []
        self.failures: list[Exception] = []
        self.looks = 0

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        self.asked.append(topic)
        return {PARTITION: OffsetRange(0, self.ends[topic])}

    def past_markers(self, _: object, spans: Spans) -> Mapping[tuple[str, int], int]:
        self.looks += 1
        if self.failures:
            raise self.failures.pop()
        names = {SETTINGS.topic_prefix + topic: topic for topic in self.positions}
        return {(name, PARTITION): self.positions[names[name]] for name in spans}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(module, "past_markers", made.past_markers)
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    return made


@asynccontextmanager
async def running(counted: CountedUntil) -> AsyncIterator[None]:
    task = asyncio.create_task(counted.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_cells_are_waited_for_once_the_events_are_in_them_however_long_that_takes(log):
    log.positions["observations"] = 6
    now_ms = [1_000]
    counted = CountedUntil(SETTINGS, log, lambda: now_ms[0])
    async with running(counted):
        assert not counted.has(900)
        await until_true(lambda: log.looks > 20)
        assert (counted.at_ms, log.asked) == (0, ["impressions", "observations"])

        now_ms[0], log.ends["tallies"], log.positions["observations"] = 9_000, 4, 7
        await until_true(lambda: "tallies" in log.asked)
        looks = log.looks
        await until_true(lambda: log.looks > looks + 20)
        assert counted.at_ms == 0

        log.positions["tallies"] = 4
        await until_true(lambda: counted.has(900))
    assert counted.at_ms == 1_000  # of before the first look


async def test_a_long_wait_is_reported_with_what_is_missing(log, caplog):
    log.positions["observations"] = 6
    clock_s = [0.0]
    counted = CountedUntil(SETTINGS, log, lambda: 1_000, lambda: clock_s[0])
    async with running(counted):
        counted.has(900)
        await until_true(lambda: log.looks > 5)
        assert not caplog.messages
        clock_s[0] += module.REPORT_S
        await until_true(lambda: bool(caplog.messages))
        looks = log.looks
        await until_true(lambda: log.looks > looks + 5)

    [said] = caplog.messages
    assert f"{SETTINGS.topic_prefix}observations/0 at 6 of 7" in said


async def test_a_log_that_does_not_answer_is_asked_again(log):
    log.failures = [DependencyError("kafka", "away")]
    counted = CountedUntil(SETTINGS, log, lambda: 1_000)
    async with running(counted):
        counted.has(900)
        await until_true(lambda: counted.has(900))
