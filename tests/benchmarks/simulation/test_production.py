"""The simulation in arrays says what production says of the same data."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulation.production import running, simulate_clicks, together
from benchmarks.simulation.stopping import ComparedSums, Rule, judge
from benchmarks.simulation.traffic import Traffic, Weights
from streams.experiments.plan import PlanSpec
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.quantities import ALLOCATION_TOTAL

LOOKS, UNITS, RUNS = 50, 120, 4
FLOOR = int(0.05 * ALLOCATION_TOTAL) / ALLOCATION_TOTAL  # as the integer weights have it
PLAN = PlanSpec(baseline=0.2, lift=0.5, units=1_000)
PLANNED_IMPRESSIONS = {"plan": PLAN.model_dump(exclude_none=True), "unit": "impression"}
PLANNED = Rule(ComparedSums.PLAIN, plan=PLAN)


@pytest.mark.parametrize(
    ("policy", "config", "traffic", "rule"),
    [
        ("bayesian_ab", {}, Traffic((0.3, 0.2)), Rule(ComparedSums.PLAIN)),
        ("bayesian_ab", PLANNED_IMPRESSIONS, Traffic((0.3, 0.2)), PLANNED),
        ("bayesian_ab", {}, Traffic((0.35, 0.2, 0.2, 0.2)), Rule(ComparedSums.PLAIN)),
        (
            "thompson_sampling",
            {"parameters": {"minAllocation": 0.05}},
            Traffic((0.3, 0.2), Weights.THOMPSON, floor=FLOOR),
            Rule(ComparedSums.OVERLAP),
        ),
        (
            "top_two_thompson",
            {"parameters": {"minAllocation": 0.05}},
            Traffic((0.3, 0.2), Weights.TOP_TWO, floor=FLOOR),
            Rule(ComparedSums.OVERLAP),
        ),
        (
            "thompson_sampling",
            {"parameters": {"minAllocation": 0.05}},
            Traffic((0.5, 0.3, 0.3), Weights.THOMPSON, floor=FLOOR),
            Rule(ComparedSums.OVERLAP),
        ),
        (
            "top_two_thompson",
            {"parameters": {"minAllocation": 0.05}},
            Traffic((0.5, 0.3, 0.3), Weights.TOP_TWO, floor=FLOOR),
            Rule(ComparedSums.OVERLAP),
        ),
    ],
    ids=str,
)
def test_production_names_the_same_variant_at_the_same_look(policy, config, traffic, rule):
    experiment = running(policy, len(traffic.rates), **config)
    traffic = replace(traffic, looks=LOOKS, units_per_look=UNITS)
    runs = [
        simulate_clicks(experiment, traffic.rates, LOOKS, UNITS, generator)
        for generator in np.random.default_rng(11).spawn(RUNS)
    ]
    judged = judge(traffic, rule, RUNS, together(runs))

    declared = [run.first_declared for run in runs]
    assert declared == list(zip(judged.declared_at.tolist(), judged.declared.tolist(), strict=True))
    assert sum(look > 0 for look, _ in declared) >= 2  # or else they would agree about nothing


def test_until_the_first_winner_nothing_else_is_recommended():
    experiment = running("bayesian_ab", 2, minDuration=0)
    run = simulate_clicks(experiment, (0.4, 0.2), 40, 100, np.random.default_rng(1))
    look, winner = run.first_declared

    assert winner == 0
    assert set(run.actions[: look - 1]) == {RecommendedAction.CONTINUE}
    assert run.actions[look - 1] is RecommendedAction.CONCLUDE_WINNER
    assert run.promoted_at >= look


def test_a_run_may_end_with_its_promotion():
    experiment = running("bayesian_ab", 2, minDuration=0)
    generator = np.random.default_rng(1)
    run = simulate_clicks(experiment, (0.4, 0.2), 40, 100, generator, until_promoted=True)

    assert run.promoted_at == len(run.actions)
    assert run.units == run.promoted_at * 100


def test_minimum_duration_keeps_a_winner_from_its_promotion():
    experiment = running("bayesian_ab", 2, minDuration=3_600)
    run = simulate_clicks(experiment, (0.4, 0.2), 30, 100, np.random.default_rng(1))

    assert RecommendedAction.CONCLUDE_WINNER in run.actions
    assert run.promoted_at == 0
