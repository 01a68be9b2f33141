"""Delivery of records by the producer of a worker that may be stopping."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.exceptions import NotReady

from streams.model.errors import DependencyError
from streams.worker.outbox import Outgoing, deliver


async def test_a_stopped_producer_is_a_dependency_that_is_away():
    """The tasks of a worker end after its producer; what they fail with must not be fatal."""

    class Stopped:
        async def send(self, *_):
            raise NotReady("Producer service not yet started")

    async def producer():
        return Stopped()

    topic: Any = SimpleNamespace(
        app=SimpleNamespace(maybe_start_producer=producer), get_topic_name=lambda: "tallies"
    )
    with pytest.raises(DependencyError, match="not yet started"):
        await deliver(topic, [Outgoing(b"key", b"value")], 1.0)
