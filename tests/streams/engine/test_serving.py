"""How far a worker may read, by what the log says of generations."""

from __future__ import annotations

import pytest

from streams.domain.generations import Generations
from streams.engine import serving as module
from streams.engine.serving import Serving
from streams.settings import Settings


class Group:
    """Committed offsets without a Kafka."""

    asked: int

    def __init__(self, settings: Settings) -> None:
        self.asked = settings.generation

    def read(self) -> dict[tuple[str, int], int]:
        return {("x-commands", 0): 10 * self.asked}

    def close(self) -> None:
        pass


class Follower:
    """A log of generations that nothing is added to."""

    def __init__(self, _config: object) -> None:
        pass

    def assign(self, _partitions: object) -> None:
        pass

    def consume(self, _count: int, _timeout: float) -> list[object]:
        return []


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch):
    monkeypatch.setattr(module, "GroupPositions", Group)
    monkeypatch.setattr(module, "Consumer", Follower)


def serving(generation: int, generations: Generations) -> tuple[Serving, list[Generations]]:
    heard: list[Generations] = []
    settings = Settings(topic_prefix="x-", generation=generation)
    made = Serving(settings, generations, 0, heard.append)
    _, made._positions = made._look()
    return made, heard


def test_the_served_generation_reads_everything():
    made, heard = serving(2, Generations(served=2, epoch=1))

    assert made.is_served
    assert made.fence("x-commands", 0) is None
    assert heard == [Generations(served=2, epoch=1)]


def test_another_one_reads_what_the_served_one_has_committed():
    made, _ = serving(3, Generations(served=2, epoch=1))

    assert made.fence("x-commands", 0) == 20
    assert made.fence("x-commands", 1) == 0  # nothing yet
    assert made.fence("x-g3-tallies", 0) is None  # its own


def test_it_goes_over_when_the_log_says_so():
    made, heard = serving(2, Generations())
    assert made.fence("x-commands", 0) == 10

    made._take(Generations(served=2, epoch=5))
    assert made.fence("x-commands", 0) is None

    made._take(Generations(served=1, epoch=6))
    assert made.fence("x-commands", 0) == 10
    assert [each.served for each in heard] == [1, 2, 1]


def test_a_worker_whose_generation_is_dropped_ends(monkeypatch):
    made, _ = serving(2, Generations())

    def die(reason: str) -> None:
        raise SystemExit(reason)

    monkeypatch.setattr(module, "die", die)
    with pytest.raises(SystemExit, match="generation 2 was dropped"):
        made._take(Generations(known=frozenset({1, 2}), dropped=frozenset({2})))
