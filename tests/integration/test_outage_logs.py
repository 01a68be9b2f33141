"""Log lines of an API and a worker while Redis and Kafka are away, by a clock that is set."""

from __future__ import annotations

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from api.app import running_api
from streams.local.children import free_port
from streams.local.valkey import HOST, start_valkey
from streams.process.background import BackgroundTasks
from streams.process.outages import INTERVAL_S, OutageFilter
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.writer import ProjectionWriter
from streams.settings import Settings
from streams.worker.projector import Projector
from tests.patience import until_true

ROUNDS = 3
"""Intervals that pass; three of 30 s are more than 70 s."""


class Log(logging.Handler):
    """All records of outages, and the lines that a process would write of them.

    Attributes:
        now_s: The clock of what is thinned.
        noticed: Records by the module that has logged them.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.now_s = 0.0
        self.noticed: Counter[str] = Counter()
        self._written = io.StringIO()
        self._process = logging.StreamHandler(self._written)
        self._process.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self._process.addFilter(OutageFilter(lambda: self.now_s))

    def emit(self, record: logging.LogRecord) -> None:
        self.noticed[record.name] += 1
        self._process.handle(record)

    @property
    def lines(self) -> list[str]:
        return self._written.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    handler = Log()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


async def test_each_place_has_a_line_an_interval_while_redis_and_kafka_are_away(log, tmp_path):
    valkey, url = await start_valkey(tmp_path)
    settings = Settings(
        kafka_url=f"{HOST}:{free_port()}",  # where no server listens
        redis_url=url,
        receipt_keys=SecretStr(f"1:{'ab' * 32}"),
        data_dir=tmp_path / "data",
        api_port=0,
    )
    background = BackgroundTasks()
    async with contextlib.AsyncExitStack() as running:
        running.push_async_callback(valkey.stop)
        await running.enter_async_context(running_api(settings))
        client = await running.enter_async_context(connect(url))
        projector = Projector(ProjectionWriter(client, Keys(settings.namespace)), "w")
        background.start("heartbeats", projector.send_heartbeats)
        running.push_async_callback(background.stop)
        await projector.is_known.wait()

        await valkey.stop()
        places = {
            "api.snapshots.follower",
            "streams.kafka.outages",
            "streams.worker.projector",
        }
        for number in range(ROUNDS):
            log.now_s = number * INTERVAL_S
            before = log.noticed.copy()

            def is_noticed_again(before: Counter[str] = before) -> bool:
                return all(log.noticed[each] - before[each] >= 3 for each in places)

            await until_true(is_noticed_again)

        lines = Counter(line.partition(":")[0] for line in log.lines)
        assert lines["api.snapshots.follower"] == ROUNDS
        assert lines["streams.worker.projector"] == ROUNDS
        assert max(lines.values()) <= 2 * ROUNDS  # Kafka's are of two clients
        assert (
            "more of these since"
            in [  # asyncio logs other lines
                line for line in log.lines if line.partition(":")[0] in places
            ][-1]
        )
