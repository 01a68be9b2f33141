"""Limits of events that could not be counted, and their effect on the decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.evaluate import evaluate
from streams.analysis.promotion import Obstacle, obstacles
from streams.experiments.statistics import RecommendedAction
from streams.tallies.cell import Tally
from tests.streams.analysis.test_decision import EVEN, experiment, tallied

MS_PER_DAY = 86_400_000


def published(**changes: Any) -> Any:
    """Return the snapshot of a certain winner, 5,000 units and 1,300 clicks, with these counts."""
    variants = (
        tallied(5_000, EVEN, click=(500, 1)),
        tallied(5_000, EVEN, click=(800, 1)),
    )
    tally = Tally(1_000, 2_000, 0, dict(enumerate(variants)))
    return evaluate(experiment(minDuration=0), replace(tally, **changes), ())


def test_a_clean_experiment_has_nothing_to_say():
    found = published()

    assert found.recommended_action is RecommendedAction.CONCLUDE_WINNER
    said: Any = stored_evidence(found)
    assert said["miscounts"] == {
        "unrememberedUnits": 0,
        "unrememberedObservations": 0,
        "isMemoryFull": False,
        "unitsInSeveralVariants": 0,
        "isInSeveralVariants": False,
        "mostEvents": 0,
        "fullUnits": 0,
        "isHeavy": False,
    }


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"unremembered_units": 10}, None),
        ({"unremembered_units": 11}, Obstacle.DEDUPLICATION_FULL),
        ({"unremembered": 1}, None),
        ({"unremembered": 2}, Obstacle.DEDUPLICATION_FULL),
        ({"crossed_units": 100}, None),
        ({"crossed_units": 101}, Obstacle.UNITS_IN_SEVERAL_VARIANTS),
    ],
)
def test_too_much_of_it_stops_conclusions(changes, obstacle):
    found = published(**changes)

    if obstacle is None:
        assert found.recommended_action is RecommendedAction.CONCLUDE_WINNER
        assert obstacles(found) == ()
    else:
        assert found.recommended_action is RecommendedAction.INVESTIGATE
        assert found.winner is None
        assert obstacles(found) == (obstacle, Obstacle.NO_WINNER)


@pytest.mark.parametrize(
    ("changes", "is_heavy"),
    [
        ({"most_events": 99}, False),
        ({"most_events": 100}, True),  # 7.7 % of 1,300
        ({"most_events": 1_000, "full_units": 1}, True),
    ],
)
def test_one_unit_is_a_finding_and_stops_nothing(changes, is_heavy):
    found = published(**changes)

    assert found.evidence.miscounts.is_heavy is is_heavy
    assert found.recommended_action is RecommendedAction.CONCLUDE_WINNER
    assert obstacles(found) == ()


@pytest.mark.parametrize(
    ("first_at_ms", "expected_ms"),
    [
        (0, MS_PER_DAY),  # an assignment that claims to be of 1970
        (1_700_000_000, MS_PER_DAY),  # seconds
        (1_700_000_000_000 + 1_000, MS_PER_DAY - 1_000),
    ],
)
def test_an_experiment_is_no_older_than_its_start(first_at_ms, expected_ms):
    started_at_ms = 1_700_000_000_000
    value = replace(experiment(minDuration=2 * 86_400), started_at_ms=started_at_ms)
    variants = (
        tallied(5_000, EVEN, click=(500, 1)),
        tallied(5_000, EVEN, click=(800, 1)),
    )
    last_at_ms = started_at_ms + MS_PER_DAY

    found: Any = evaluate(value, Tally(first_at_ms, last_at_ms, 0, dict(enumerate(variants))), ())

    assert found.evidence.duration_ms == expected_ms
    assert obstacles(found) == (Obstacle.MIN_DURATION,)
