"""The topic `decisions` as events, while the log cannot be read for a moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from schemas.codec import Codec
from streams.kafka.records import OffsetRange
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError
from streams.webhooks import decisions as module
from streams.webhooks.decisions import DecisionLog
from streams.wire.framing import Framing


class Log:
    """The log without a record, which cannot be read while it `is_away`."""

    is_away = False

    def spans(self, _topic):
        if self.is_away:
            raise DependencyError("kafka", "no answer")
        return {0: OffsetRange(0, 0)}

    def read(self, *_):
        return iter(())


class Framed:
    """Frames of records, whose registry cannot be asked while it `is_away`."""

    is_away = False
    codec = Codec()

    async def prepare(self, _values):
        if self.is_away:
            raise DependencyError("registry", "no answer")


class Received:
    """A consumer that gives every record once, as one of Kafka."""

    def __init__(self, _config) -> None:
        self.offsets = [0, 1, 2]

    def assign(self, _places) -> None:
        pass

    def close(self) -> None:
        pass

    def consume(self, limit, _wait_s):
        found, self.offsets = self.offsets[:limit], self.offsets[limit:]
        return [
            SimpleNamespace(
                error=lambda: None,
                offset=lambda offset=offset: offset,
                timestamp=lambda: (1, 5),
                key=lambda: b"exp_0000000000001",
                value=lambda: b"noise",
                partition=lambda: 0,
            )
            for offset in found
        ]


@pytest.mark.parametrize("away", ["log", "registry"])
async def test_what_was_received_while_the_log_could_not_be_read_is_not_lost(monkeypatch, away):
    monkeypatch.setattr(module, "Consumer", Received)
    monkeypatch.setattr(module, "READ_TOGETHER", 2)
    log, framing = Log(), Framed()
    decisions = DecisionLog(KafkaSettings(), log, cast("Framing", framing))
    await decisions.open()
    broken = log if away == "log" else framing

    broken.is_away = True
    for _ in range(2):
        with pytest.raises(DependencyError):
            await decisions.follow()
    broken.is_away = False
    while await decisions.follow():
        pass

    records, end = await decisions.read(0, 0, 10)
    assert [offset for offset, _ in records] == [0, 1, 2]
    assert end == 3
    await decisions.close()
