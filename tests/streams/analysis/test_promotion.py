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
    assert obstacles(published(experiment(minDuration=0), *CLEAR)) == ()


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
def test_what_prevents_promotion_is_named(config, variants, expected):
    value = experiment(**({"maxExpectedLoss": 0.001, "minDuration": 0} | config))

    assert list(obstacles(published(value, *variants))) == expected


@pytest.mark.parametrize("status", [Status.DRAFT, Status.PAUSED, Status.CONCLUDED])
def test_only_what_is_running_is_promoted(status):
    found = obstacles(published(experiment(status=status), *CLEAR))

    assert found[0] is Obstacle.NOT_RUNNING


def test_a_contradicted_metric_that_decides_nothing_stops_a_promotion_and_no_recommendation():
    value = experiment(
        minDuration=0, secondaryMetrics=["view"], metrics={"view": {"kind": "binary"}}
    )
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
        (0.01, [Obstacle.MIN_DURATION]),
        (6.99, [Obstacle.MIN_DURATION]),
        (7.0, []),
        (7.99, []),
        (8.0, [Obstacle.MIN_DURATION]),
        (13.99, [Obstacle.MIN_DURATION]),
        (14.0, []),
        (15.0, [Obstacle.MIN_DURATION]),
        (21.5, []),
    ],
)
def test_whole_weeks_unless_stated_otherwise(days, expected):
    last_at_ms = 1_000 + round(days * 86_400_000)

    unstated = published(experiment(), *CLEAR, last_at_ms=last_at_ms)
    off = published(experiment(minDuration=0), *CLEAR, last_at_ms=last_at_ms)

    assert list(obstacles(unstated)) == expected
    assert obstacles(off) == ()


@pytest.mark.parametrize(
    ("days", "expected"), [(7.0, []), (7.02, []), (7.9, [Obstacle.MIN_DURATION]), (14.9, [])]
)
def test_the_days_beyond_whole_weeks_do_not_decide(days, expected):
    """The lead is at least 5.0 % of the mean; 0.9 of 7.9 days with 50 % more would make 5.7 %."""
    close = (
        tallied(50_000, EVEN, click=(5_000, 1)),
        tallied(50_000, EVEN, click=(5_650, 1)),
    )
    found = published(experiment(), *close, last_at_ms=1_000 + round(days * 86_400_000))
    (lead,) = found.evidence.comparisons

    assert 0.050 < lead.lower / (5_650 / 50_000) < 0.051
    assert list(obstacles(found)) == expected


CRASH = {"direction": "decrease", "mode": "non_inferiority", "margin": 0.2}
PROVING = {"minDuration": 0, "guardrailMetrics": ["crash"], "metrics": {"crash": CRASH}}


def guarded(units, control, winner, **config):
    """A winner of clicks, and the crashes of both."""
    return published(
        experiment(**(PROVING | config)),
        tallied(units, EVEN, click=(units // 10, 1), crash=(control, 1)),
        tallied(units, EVEN, click=(units // 5, 1), crash=(winner, 1)),
    )


@pytest.mark.parametrize(
    ("units", "control", "winner", "is_proven"),
    [
        (5_000, 0, 0, False),  # it has said nothing
        (5_000, 50, 50, False),  # nor has a handful
        (50_000, 500, 500, False),
        (200_000, 2_000, 2_000, True),
        (200_000, 2_000, 2_180, False),  # 9 % of harm neither trips nor is far from 20 %
        (5_000, 500, 200, True),
    ],
)
def test_a_promotion_rules_out_harm_of_the_margin(units, control, winner, is_proven):
    found = guarded(units, control, winner)
    (guardrail,) = found.evidence.guardrails

    assert found.winner == 1  # a person may decide otherwise
    assert (guardrail.is_proven, guardrail.is_tripped) == (is_proven, False)
    assert obstacles(found) == (() if is_proven else (Obstacle.GUARDRAIL_UNPROVEN,))


def test_the_margin_is_a_separate_line_beside_the_tolerated_harm():
    """By hand: a variant is compared with the control times 1.1 and times 1.4."""
    metrics = {"crash": CRASH | {"toleratedHarm": 0.1, "margin": 0.4}}
    (found,) = guarded(5_000, 500, 550, metrics=metrics).evidence.guardrails

    assert (found.tolerated_harm, found.margin, found.harm) == (0.1, 0.4, pytest.approx(0.1))
    assert found.p_value == 1.0
    assert 0.0 < found.margin_p_value < 0.01


def test_only_the_winner_must_be_proven_and_margins_hold_for_all_variants():
    value = experiment(n_variants=3, **PROVING)
    third = 65_536 / 3
    variants = [
        tallied(200_000, round(third), click=(20_000, 1), crash=(2_000, 1)),
        tallied(200_000, round(third), click=(40_000, 1), crash=(2_000, 1)),
        tallied(200_000, round(third), click=(20_000, 1), crash=(2_180, 1)),
    ]
    found = published(value, *variants).evidence.guardrails

    assert [each.is_proven for each in found] == [True, False]
    two = guarded(200_000, 2_000, 2_000).evidence.guardrails[0].margin_p_value
    assert found[0].margin_p_value == pytest.approx(2.0 * two, rel=0.05)


@pytest.mark.parametrize(
    ("declared", "is_automatic", "margin"),
    [
        ({}, False, None),
        ({}, True, 0.25),
        ({"toleratedHarm": 0.1}, True, 0.25),
        ({"toleratedHarm": 0.4}, True, 0.4),
        ({"margin": 0.05}, False, 0.05),
        ({"mode": "non_inferiority"}, False, 0.25),
        ({"mode": "non_inferiority", "margin": 0.0}, True, 0.0),
        ({"mode": "harm"}, True, None),
    ],
)
def test_automatic_promotion_has_a_margin_unless_stated_otherwise(declared, is_automatic, margin):
    metrics = {"crash": {"direction": "decrease"} | declared}
    found = guarded(5_000, 50, 50, metrics=metrics, autoPromoteWinner=is_automatic)
    (guardrail,) = found.evidence.guardrails

    assert guardrail.margin == margin
    assert (guardrail.margin_p_value is None) == (margin is None)
    assert obstacles(found) == (() if margin is None else (Obstacle.GUARDRAIL_UNPROVEN,))


def test_a_winner_is_proven_on_guardrails_that_should_rise():
    metrics = {"crash": CRASH | {"direction": "increase"}}

    assert obstacles(guarded(5_000, 500, 800, metrics=metrics)) == ()
    assert Obstacle.GUARDRAIL_TRIPPED in obstacles(guarded(5_000, 800, 500, metrics=metrics))


def test_a_snapshot_without_evidence_promotes_no_variant():
    old = replace(published(experiment(), *CLEAR), evidence=None)

    assert obstacles(old) == (Obstacle.NO_WINNER,)
