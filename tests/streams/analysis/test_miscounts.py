"""Limits of events that could not be counted, and their effect on the decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.analysis.answered_evidence import stored_evidence
from streams.analysis.evaluate import evaluate
from streams.analysis.promotion import Obstacle, obstacles
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.tallies.cell import Tally
from streams.tallies.heavy_units import HeavyUnit
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
        "heavyUnits": [],
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
    ("units", "named"),
    [
        ((HeavyUnit("a", "click", 1, 65),), []),  # 5 % of 1,300
        ((HeavyUnit("a", "click", 255, 100),), [("a", "00000000000000ff", 100, 100 / 1_300)]),
        ((HeavyUnit("a", "view", 1, 100),), [("a", "0000000000000001", 100, 1.0)]),
        ((HeavyUnit("a", "click", 1, 1_000, True),), []),
        (
            tuple(HeavyUnit(f"{n}", "click", n, 100) for n in range(9)),
            [(f"{n}", f"{n:016x}", 100, 100 / 1_300) for n in range(5)],
        ),
    ],
)
def test_units_with_many_observations_are_a_finding_and_stop_nothing(units, named):
    found = published(heavy=units, most_events=100)

    reported = found.evidence.miscounts
    assert [
        (each.assignment_id, each.unit, each.observations, each.share)
        for each in reported.heavy_units
    ] == named
    assert reported.is_heavy is bool(named)
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
