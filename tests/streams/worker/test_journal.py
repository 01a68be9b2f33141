"""A batch that fails ends the process; while it ends anyway, the batch is left to be read again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.worker import journal
from streams.worker.journal import Journal


class Died(BaseException):
    """In place of the end of the process."""


@pytest.fixture(autouse=True)
def death(monkeypatch):
    def die(reason):
        raise Died(reason)

    monkeypatch.setattr(journal, "die", die)


async def run_lane(monkeypatch, *, should_stop):
    """Run the lane of a partition whose next batch cannot be written."""
    nobody: Any = SimpleNamespace(on_recover=lambda callback: None)
    app: Any = SimpleNamespace(resume={}, should_stop=should_stop)
    subject = Journal(app, nobody, nobody, (), nobody, nobody, nobody, write_timeout_s=1.0)

    async def fail(tp, events):
        raise RuntimeError("the producer has stopped")

    monkeypatch.setattr(subject, "_run", fail)
    lane: asyncio.Queue[Any] = asyncio.Queue()
    lane.put_nowait(SimpleNamespace(message=SimpleNamespace(tp=("observations", 0))))
    async with asyncio.timeout(5):
        await subject._run_lane(lane)


async def test_a_batch_that_cannot_be_made_durable_ends_the_process(monkeypatch):
    with pytest.raises(Died, match="could not be made durable"):
        await run_lane(monkeypatch, should_stop=False)


async def test_a_worker_that_was_told_to_leave_leaves_whatever_its_last_batch_met(
    monkeypatch, caplog
):
    await run_lane(monkeypatch, should_stop=True)

    assert "left to be read again" in caplog.text
