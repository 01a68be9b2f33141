"""The action of an experiment that stands last in `decisions`, and its first conclusion."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.action_history import NOTHING_LOGGED
from streams.model.events import CONCLUSION, Decision
from streams.wire.decisions import encode_decision
from streams.wire.framing import Framing, framing
from streams.worker.logged_decisions import LoggedDecisions
from tests.twins.log import MemoryLog


@pytest.fixture
async def frames() -> AsyncIterator[Framing]:
    async with framing(None) as opened:
        yield opened


def decide(log: MemoryLog, experiment: int, kind: str, snapshot: bytes = b"") -> None:
    decision = Decision(experiment, kind, 1, 2, snapshot=snapshot)
    log.append("decisions", experiment % 2, encode_decision(decision))


async def test_the_last_action_of_each_experiment_is_read_and_later_ones_after_it(frames):
    log = MemoryLog()
    for experiment, kind in (
        (7, "conclude_no_difference"),
        (7, "command"),
        (8, "command"),
        (7, "conclude_winner"),
        (7, "conclude_winner"),  # of a worker that did not know of the one before
    ):
        decide(log, experiment, kind)
    log.append("decisions", 0, b"noise")
    logged = LoggedDecisions(log, frames)

    await logged.read()
    first = logged.actions(7)
    assert first.action is RecommendedAction.CONCLUDE_WINNER
    assert logged.actions(8) is NOTHING_LOGGED
    assert [each.changes[0].after for each in first.entries] == [
        "conclude_no_difference",
        "conclude_winner",
    ]

    decide(log, 8, "conclude_no_difference")
    log.first["decisions", 1] = 4  # not read a second time
    await logged.read()
    assert logged.actions(7) == first
    assert logged.actions(8).action is RecommendedAction.CONCLUDE_NO_DIFFERENCE


async def test_the_first_conclusion_of_an_experiment_counts_and_is_no_action(frames):
    log = MemoryLog()
    decide(log, 7, "conclude_winner")
    for snapshot in (b"first", b"second"):
        decide(log, 7, CONCLUSION, snapshot)
    decide(log, 8, "continue")
    logged = LoggedDecisions(log, frames)
    logged.note_conclusion(9)

    await logged.read()

    assert [logged.has_conclusion(number) for number in (7, 8, 9)] == [True, False, True]
    assert await logged.conclusions([7, 8, 9]) == {7: b"first"}
    assert logged.actions(7).n_logged == 1
    assert log.readings["decisions"] == 1  # for both
