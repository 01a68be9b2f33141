"""The action that stands last in `decisions`, by experiment."""

from __future__ import annotations

from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.events import Decision
from streams.wire.decisions import encode_decision
from streams.wire.framing import framing
from streams.worker.logged_actions import LoggedActions
from tests.twins.log import MemoryLog


async def test_the_last_action_of_each_experiment_is_read_and_later_ones_after_it():
    log = MemoryLog()

    def decide(experiment: int, kind: str) -> None:
        log.append("decisions", experiment % 2, encode_decision(Decision(experiment, kind, 1, 2)))

    for experiment, kind in (
        (7, "continue"),
        (7, "command"),
        (8, "command"),
        (7, "conclude_winner"),
    ):
        decide(experiment, kind)
    log.append("decisions", 0, b"noise")
    async with framing(None) as frames:
        logged = LoggedActions(log, frames)

        first = await logged.read()
        decide(8, "conclude_no_difference")
        log.first["decisions", 1] = 3  # not read a second time
        second = await logged.read()

    assert {number: each.action for number, each in first.items()} == {
        7: RecommendedAction.CONCLUDE_WINNER
    }
    assert [each.changes[0].after for each in first[7].entries] == ["continue", "conclude_winner"]
    assert second[7] == first[7]
    assert second[8].action is RecommendedAction.CONCLUDE_NO_DIFFERENCE
