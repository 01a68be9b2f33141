"""A partition whose cells are being sent does not stand still."""

from __future__ import annotations

import asyncio

import pytest

from streams.ops.doctor import sending as module
from streams.ops.doctor.sending import still_sending
from tests.twins.log import MemoryLog

FIRST, SECOND, IMPRESSIONS = ("observations", 0), ("observations", 1), ("impressions", 0)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """Keys of the cells that are sent before each further look."""
    return []


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, looks: list[list[bytes]]) -> MemoryLog:
    made = MemoryLog()

    async def sleep(_: float) -> None:
        for key in looks.pop(0) if looks else []:
            made.append("tallies", 0, b"cell", key)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return made


async def sent(log: MemoryLog, *standing: tuple[str, int], since: int = 0) -> frozenset[object]:
    return await still_sending(log, "tallies", {0: since}, standing)


async def test_cells_since_the_first_look_are_those_of_a_partition_that_is_sending(log):
    log.append("tallies", 0, b"cell", b"exp_1/observations/1")  # before it
    log.append("tallies", 0, b"cell", b"exp_1/observations/0")
    log.append("tallies", 0, None, b"exp_1/impressions/0")  # of an experiment that has ended
    for key in (b"noise", b"a/b", b"exp_1/observations/x", b"\xff/\xff/1", None):
        log.append("tallies", 0, b"cell", key)

    assert await sent(log, FIRST, SECOND, IMPRESSIONS, since=1) == {FIRST}


async def test_it_watches_while_others_are_sent_and_no_longer(log, looks):
    log.append("tallies", 0, b"cell", b"exp_1/observations/0")
    looks += [[b"exp_2/observations/0"], [b"exp_1/observations/1"], [b"exp_1/observations/0"]]

    assert await sent(log, FIRST, SECOND) == {FIRST, SECOND}
    assert len(looks) == 1

    looks[:] = [[], [b"exp_1/impressions/0"]]
    assert await sent(log, IMPRESSIONS, since=log.span("tallies", 0).end) == set()
    assert len(looks) == 2


async def test_it_does_not_watch_indefinitely_and_not_at_all_without_a_partition(log, looks):
    looks += [[b"exp_1/observations/0"]] * 100
    log.append("tallies", 0, b"cell", b"exp_1/observations/0")

    assert await sent(log) == set()
    assert len(looks) == 100
    assert await sent(log, SECOND) == set()
    assert len(looks) == 101 - module.LOOKS
