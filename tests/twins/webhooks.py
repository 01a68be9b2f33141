"""Webhooks in memory: the topic `webhooks` and its writer."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.webhooks.log import PARTITION, WebhookReader
from streams.webhooks.sealing import Seals
from tests.twins.log import MemoryLog

SEALS = Seals("a" * 43 + "=")


@dataclass
class MemoryWebhooks:
    """The log of webhooks, and the writer of an API.

    Attributes:
        log: Has the topic.
        failures: Raised by the next writings, one each.
    """

    log: MemoryLog = field(default_factory=MemoryLog)
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log.topics["webhooks", PARTITION] = []

    def write(self, *records: tuple[bytes, bytes | None]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for key, value in records:
            self.log.append("webhooks", PARTITION, value, key)

    def reader(self) -> WebhookReader:
        return WebhookReader(self.log)
