from dataclasses import replace

import pytest

from streams.analysis.promotion import Obstacle, obstacles
from streams.experiments.lifecycle import Status
from tests.streams.analysis.test_decision import (
    EVEN,
    GUARDED,
    experiment,
    published,
    tallied,
)

CLEAR = (
    tallied(5_000, EVEN, click=(500, 1)),
    tallied(5_000, EVEN, click=(800, 1)),
)


def test_a_certain_winner_is_promoted():
    assert obstacles(published(experiment(), *CLEAR)) == ()


@pytest.mark.parametrize(
    ("config", "variants", "expected"),
    [
        ({"minDuration": 2}, CLEAR, [Obstacle.MIN_DURATION]),
        ({"minDuration": 1}, CLEAR, []),
        ({"minSampleSize": 5_001}, CLEAR, [Obstacle.MIN_SAMPLE_SIZE, Obstacle.NO_WINNER]),
        (
            {},
            (CLEAR[0], tallied(5_000, EVEN, click=(520, 1))),
            [Obstacle.NO_WINNER, Obstacle.EXPECTED_LOSS],
        ),
        (
            {},
            (CLEAR[0], tallied(4_000, EVEN, click=(800, 1))),
            [Obstacle.SAMPLE_RATIO_MISMATCH, Obstacle.NO_WINNER],
        ),
        (
            {"metrics": {"click": {"kind": "binary"}}},
            (CLEAR[0], tallied(5_000, EVEN, click=(800, 2))),
            [Obstacle.KIND_CONTRADICTED, Obstacle.NO_WINNER],
        ),
        (
            GUARDED,
            (
                tallied(5_000, EVEN, click=(500, 1), crash=(100, 1)),
                tallied(5_000, EVEN, click=(800, 1), crash=(400, 1)),
            ),
            [Obstacle.GUARDRAIL_TRIPPED, Obstacle.NO_WINNER],
        ),
    ],
)
def test_what_stands_in_the_way_is_named(config, variants, expected):
    value = experiment(**({"maxExpectedLoss": 0.001} | config))

    assert list(obstacles(published(value, *variants))) == expected


@pytest.mark.parametrize("status", [Status.DRAFT, Status.PAUSED, Status.CONCLUDED])
def test_only_what_is_running_is_promoted(status):
    found = obstacles(published(experiment(status=status), *CLEAR))

    assert found[0] is Obstacle.NOT_RUNNING


def test_a_contradicted_metric_that_decides_nothing_stops_a_promotion_and_no_recommendation():
    value = experiment(secondaryMetrics=["view"], metrics={"view": {"kind": "binary"}})
    found = published(
        value,
        tallied(5_000, EVEN, click=(500, 1), view=(9, 2)),
        tallied(5_000, EVEN, click=(800, 1), view=(9, 2)),
    )

    assert found.winner == 1
    assert obstacles(found) == (Obstacle.KIND_CONTRADICTED,)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0.01, []),
        (6.99, []),
        (7.0, []),
        (7.99, []),
        (8.0, [Obstacle.MIN_DURATION]),
        (13.99, [Obstacle.MIN_DURATION]),
        (14.0, []),
        (15.0, [Obstacle.MIN_DURATION]),
        (21.5, []),
    ],
)
def test_a_long_test_ends_with_a_whole_week_and_a_short_one_when_it_is_certain(days, expected):
    last_at_ms = 1_000 + round(days * 86_400_000)

    unstated = published(experiment(), *CLEAR, last_at_ms=last_at_ms)
    off = published(experiment(minDuration=0), *CLEAR, last_at_ms=last_at_ms)

    assert list(obstacles(unstated)) == expected
    assert obstacles(off) == ()


def test_a_snapshot_without_evidence_promotes_nobody():
    old = replace(published(experiment(), *CLEAR), evidence=None)

    assert obstacles(old) == (Obstacle.NO_WINNER,)
