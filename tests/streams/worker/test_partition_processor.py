"""A batch that fails ends the process; while it ends anyway, the batch is left to be read again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.worker import partition_processor
from streams.worker.partition_processor import PartitionProcessor


class Died(BaseException):
    """In place of the end of the process."""


@pytest.fixture(autouse=True)
def death(monkeypatch):
    def die(reason):
        raise Died(reason)

    monkeypatch.setattr(partition_processor, "die", die)


async def run_queue(monkeypatch, *, should_stop):
    """Run the queue of a partition whose next batch cannot be written."""
    unused: Any = SimpleNamespace(on_recover=lambda callback: None)
    app: Any = SimpleNamespace(resume={}, should_stop=should_stop)
    subject = PartitionProcessor(
        app, unused, unused, (), unused, unused, unused, write_timeout_s=1.0
    )

    async def fail(tp, events):
        raise RuntimeError("the producer has stopped")

    monkeypatch.setattr(subject, "_run", fail)
    queue: asyncio.Queue[Any] = asyncio.Queue()
    queue.put_nowait(SimpleNamespace(message=SimpleNamespace(tp=("observations", 0))))
    async with asyncio.timeout(5):
        await subject._run_queue(queue)


async def test_a_batch_that_cannot_be_made_durable_ends_the_process(monkeypatch):
    with pytest.raises(Died, match="could not be made durable"):
        await run_queue(monkeypatch, should_stop=False)


async def test_a_worker_that_was_told_to_leave_leaves_whatever_its_last_batch_met(
    monkeypatch, caplog
):
    await run_queue(monkeypatch, should_stop=True)

    assert "left to be read again" in caplog.text
