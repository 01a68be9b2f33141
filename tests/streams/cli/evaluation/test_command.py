"""Options of `experiment evaluate`, and what it shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from streams.cli.evaluation.command import own_run, shares_of
from streams.cli.evaluation.views import EvaluationQuery, evaluation_json, evaluation_view
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.model.errors import InputError
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.replay.off_policy.intervals import UNKNOWN, ValueEstimate
from streams.replay.off_policy.logged import UnitLog
from streams.replay.off_policy.report import Evaluation, evaluate_target
from streams.replay.off_policy.rules import fixed
from streams.replay.off_policy.target import replayed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.5", "WEIGHTS_INCOMPLETE"),
        ("0.5,0.6", "WEIGHTS_DO_NOT_SUM"),
        ("1.5,-0.5", "WEIGHTS_DO_NOT_SUM"),
        ("nan,1", "WEIGHTS_DO_NOT_SUM"),
        ("0.5,x", "WRONG_TYPE"),
    ],
)
def test_invalid_shares_are_refused(text, code):
    with pytest.raises(InputError) as raised:
        shares_of(text, 2)

    assert (raised.value.code, raised.value.path) == (code, "--weights")


@pytest.fixture
def experiment() -> Experiment:
    definition = parse_definition(
        {"name": "Hero", "type": "ucb", "primaryMetric": "click"},
        [{"name": "[red]", "isControl": True}, {"name": "b"}],
    )
    return Experiment(7, definition, Status.RUNNING, 2, 0, 0, 2)


def found(rates: tuple[float, float], weights: tuple[float, float]) -> Evaluation:
    """Return what shares earn on 1,000 units, of which the first of every variant click."""
    variants = np.arange(1_000) % 2
    clicked = np.array([u for u in range(1_000) if u // 2 < rates[u % 2] * 500])
    log = UnitLog(
        "click",
        2,
        variants,
        np.full(1_000, PROPENSITY_ONE // 2),
        np.arange(1_000),
        clicked,
        np.full(len(clicked), MICRO),
        clicked,
    )
    return evaluate_target(log, replayed(log, fixed(weights), 1_000))


def text_of(
    experiment: Experiment, evaluation: Evaluation, unmatched=0, *, is_fixed=False, own=False
) -> str:
    console = Console(width=400)
    with console.capture() as capture:
        console.print(
            evaluation_view(EvaluationQuery(experiment, 100, is_fixed, own), evaluation, unmatched)
        )
    return capture.get()


def test_a_better_policy_is_called_better(experiment):
    text = text_of(experiment, found((0.1, 0.4), (0.0, 1.0)))

    assert "ucb (variant ucb1, c 2.0), allocated anew every 100 units, over 1,000 units" in text
    assert "It would have earned 400 click instead of 250 (+60.0%)" in text
    assert "it is better." in text
    assert "[red]" in text
    assert "Effective sample size: 500 units; largest weight 2, mean 1.000." in text
    assert "left out" not in text


def test_a_worse_one_worse_and_a_close_one_neither(experiment):
    assert "it is worse." in text_of(experiment, found((0.4, 0.1), (0.0, 1.0)), is_fixed=True)
    text = text_of(experiment, found((0.2, 0.21), (0.45, 0.55)), 3, is_fixed=True)
    assert "this log shows no difference" in text
    assert "fixed shares over 1,000 units" in text
    assert "3 observations are of assignments that are not in the log" in text


def test_what_is_wrong_with_the_weights_is_shown(experiment):
    evaluation = found((0.2, 0.2), (0.5, 0.5))
    known = evaluation.diagnostics
    few = replace(known, effective_units=12.0, mean_weight=replace(known.mean_weight, upper=0.9))
    text = text_of(experiment, replace(evaluation, diagnostics=few))

    assert "do not believe the intervals" in text
    assert "The mean weight should be 1" in text


def test_shares_that_receipts_round_are_no_finding(experiment):
    """The mean weight of the logged shares, of an experiment whose variants have changed."""
    evaluation = found((0.2, 0.2), (0.5, 0.5))
    rounded = ValueEstimate(0.9999978, 0.9999959, 0.9999998)
    known = replace(evaluation.diagnostics, mean_weight=rounded)
    text = text_of(experiment, replace(evaluation, diagnostics=known))

    assert "The mean weight should be 1" not in text


def test_json_has_null_for_what_is_not_known(experiment):
    evaluation = replace(found((0.2, 0.2), (0.5, 0.5)), dm=UNKNOWN, means=(0.2, math.nan))

    shown = evaluation_json(EvaluationQuery(experiment, 100, False, False), evaluation, 0)

    assert shown["estimates"]["dm"] == {
        "value": None,
        "lower": None,
        "upper": None,
        "isReliable": False,
    }
    assert shown["variants"][1]["mean"] is None
    assert shown["policy"] == "ucb"
    assert set(shown["estimates"]) == {
        *("earned", "dr", "snipw", "ipw", "dm", "switchDr", "gain"),
    }
    assert "unknown" in text_of(experiment, evaluation)


def test_what_the_policy_has_learned_from_is_shown(experiment):
    evaluation = found((0.2, 0.2), (0.5, 0.5))

    assert "knew at every moment what this log knew" in text_of(experiment, evaluation)
    assert "knew" not in text_of(experiment, evaluation, is_fixed=True)
    own = text_of(experiment, replace(evaluation, n_learned=300), own=True)
    assert "a separate run of 300 units.\n" in own
    lacking = text_of(experiment, replace(evaluation, lacking=0.12), own=True)
    assert "The log lacks 12% of its choices" in lacking


def test_a_run_is_drawn_from_a_longer_log():
    run = own_run(1_000, 250)

    assert run.cap == 4.0
    assert run.draws.tolist() == own_run(1_000, 250).draws.tolist()
    with pytest.raises(InputError) as raised:
        own_run(10, 11)
    assert (raised.value.code, raised.value.path) == ("OUT_OF_RANGE", "--run")


def test_of_many_variants_those_that_matter_are_shown(experiment):
    definition = parse_definition(
        {"name": "Hero", "type": "ucb", "primaryMetric": "click"},
        [{"name": f"item {index}", "isControl": index == 0} for index in range(20)],
    )
    evaluation = replace(
        found((0.2, 0.2), (0.5, 0.5)),
        assigned=(50,) * 20,
        shares=(0.01,) * 8 + (0.0766,) * 12,
        means=(0.2,) * 20,
    )

    text = text_of(replace(experiment, definition=definition), evaluation)

    assert "item 8" in text
    assert "item 7" not in text
    assert "8 others" in text
