"""First receipts without Redis: decided at once, told, and asked again after a rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from api.sticky import REST_S, StickyReceipts
from streams.redis_projection.keys import Keys


@dataclass
class Client:
    """What is used of a Redis client: one pipeline of `SET NX GET`."""

    is_away: bool = False
    values: dict[str, bytes] = field(default_factory=dict)
    pipelines: list[int] = field(default_factory=list)

    def pipeline(self, *, transaction: bool) -> Client:
        self._asked: list[tuple[str, bytes]] = []
        return self

    def set(self, key: str, value: str, **_: Any) -> None:
        self._asked.append((key, value.encode()))

    async def execute(self) -> list[bytes | None]:
        self.pipelines.append(len(self._asked))
        if self.is_away:
            raise RedisConnectionError("away")
        found = [self.values.get(key) for key, _ in self._asked]
        for key, value in self._asked:
            self.values.setdefault(key, value)
        return found


async def test_questions_of_one_turn_travel_together() -> None:
    client = Client()
    sticky = StickyReceipts(client, Keys("n"), 60)  # type: ignore[arg-type]

    answers = await asyncio.gather(
        *(sticky.first("exp_0000000000001", unit, f"r{unit}", 0) for unit in range(50))
    )
    again = await sticky.first("exp_0000000000001", 7, "other", 0)

    assert answers == [f"r{unit}" for unit in range(50)]
    assert again == "r7"
    assert client.pipelines == [50, 1]


async def test_redis_is_left_alone_for_a_while_after_it_failed() -> None:
    client, now_s = Client(is_away=True), [0.0]
    sticky = StickyReceipts(client, Keys("n"), 60, clock=lambda: now_s[0])  # type: ignore[arg-type]

    assert await sticky.first("e", 1, "r", 0) is None
    client.is_away = False
    assert await sticky.first("e", 1, "r", 0) is None
    assert (client.pipelines, sticky.unavailable) == ([1], 2)

    now_s[0] = REST_S
    assert await sticky.first("e", 1, "r", 0) == "r"
