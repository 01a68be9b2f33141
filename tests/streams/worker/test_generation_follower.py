"""Read limits of a worker, by the generations in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from streams.model.errors import DependencyError
from streams.model.generations import ChangeKind, GenerationChange, Generations
from streams.settings import Settings
from streams.wire.generations import encode_generation_change
from streams.worker import generation_follower as module
from streams.worker.generation_follower import GenerationFollower
from tests.twins.positions import MemoryGroups


@dataclass
class Change:
    """A record of `generations`."""

    place: int
    change: GenerationChange

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self.place

    def value(self) -> bytes:
        return encode_generation_change(self.change)


class Follower:
    """A log of generations, each record of which is read once."""

    unread: ClassVar[list[Change]] = []

    def __init__(self, _config: object) -> None:
        pass

    def assign(self, _partitions: object) -> None:
        pass

    def consume(self, _count: int, _timeout: float) -> list[Change]:
        read, self.unread[:] = list(self.unread), []
        return read


@pytest.fixture(autouse=True)
def groups(monkeypatch) -> MemoryGroups:
    made = MemoryGroups()
    for generation in (1, 2):
        made.committed[generation]["x-commands", 0] = 10 * generation
    monkeypatch.setattr(module, "GroupPositions", made.positions)
    monkeypatch.setattr(module, "Consumer", Follower)
    return made


async def follower(
    generation: int, generations: Generations
) -> tuple[GenerationFollower, list[Generations]]:
    heard: list[Generations] = []
    settings = Settings(topic_prefix="x-", generation=generation)
    made = GenerationFollower(settings, generations, 0, heard.append)
    await made._look()
    return made, heard


def change(made: GenerationFollower, offset: int, generation: int) -> None:
    made._follower.unread.append(  # type: ignore[attr-defined]
        Change(offset, GenerationChange(generation, ChangeKind.SERVED, 0))
    )


async def test_the_active_generation_reads_everything():
    made, heard = await follower(2, Generations(active=2, epoch=1))

    assert made.is_active
    assert made.fence("x-commands", 0) is None
    assert heard == [Generations(active=2, epoch=1)]


async def test_another_one_reads_what_the_active_one_has_committed():
    made, _ = await follower(3, Generations(active=2, epoch=1))

    assert made.fence("x-commands", 0) == 20
    assert made.fence("x-commands", 1) == 0  # nothing yet
    assert made.fence("x-g3-tallies", 0) is None  # its own


async def test_it_goes_over_when_the_log_says_so():
    made, heard = await follower(2, Generations())
    assert made.fence("x-commands", 0) == 10

    change(made, 4, 2)
    await made._look()
    assert made.fence("x-commands", 0) is None

    change(made, 5, 1)
    await made._look()
    assert made.fence("x-commands", 0) == 10
    assert [each.active for each in heard] == [1, 2, 1]


async def test_a_change_is_taken_also_when_positions_cannot_be_read(groups):
    made, _ = await follower(2, Generations(active=2, epoch=1))
    change(made, 4, 1)
    groups.is_away = True

    with pytest.raises(DependencyError):
        await made._look()

    assert not made.is_active
    assert made.fence("x-commands", 0) == 0


async def test_a_worker_whose_generation_is_dropped_ends(monkeypatch):
    made, _ = await follower(2, Generations())

    def die(reason: str) -> None:
        raise SystemExit(reason)

    monkeypatch.setattr(module, "die", die)
    with pytest.raises(SystemExit, match="generation 2 was dropped"):
        made._take(Generations(known=frozenset({1, 2}), dropped=frozenset({2})))
