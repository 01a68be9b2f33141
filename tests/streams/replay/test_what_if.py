"""The same log under other assumptions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.analysis.reasons import reason
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Status
from streams.experiments.metrics import MetricSpec
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.model.errors import ExperimentNotFoundError, InputError
from streams.model.events import CommandKind
from streams.replay.what_if import Assumptions, what_if
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind
from streams.tallies.cell import Source
from tests.streams.replay.memory import INPUTS, MEASURED, NOW_MS, Installation, installation


@pytest.fixture(scope="module")
def made() -> Installation:
    return installation(11)


def found(made: Installation, assumptions: Assumptions, inputs=INPUTS):
    return what_if(made.log, inputs, 7, assumptions)


def test_without_assumptions_both_are_what_workers_make_of_all(made):
    for source in Source:
        for partition in range(2):
            made.fold(source, partition, 10_000)
    for key in sorted(made.unsent):
        made.emit(key)

    both = found(made, Assumptions())

    assert both.actual == both.supposed == made.known[7].snapshot()


def test_another_prior_moves_the_posterior_and_no_count(made):
    both = found(made, Assumptions(metric="view", prior=(9_000.0, 1_000.0)))

    assert both.supposed.variants[0].assignments == both.actual.variants[0].assignments
    assert 0.8 < both.supposed.variants[0].lower < 0.9 < both.supposed.variants[0].upper


def test_another_policy_begins_at_its_defaults_and_takes_parameters(made):
    both = found(made, Assumptions("epsilon_greedy", {"epsilon": 0.5}))

    config = both.supposed.experiment.definition.config
    assert config.type == "epsilon_greedy"
    # 0.25 and 0.75, mixed with a floor of 0.01 for each.
    assert sorted(both.supposed.allocation.weights) == [16_712, 48_824]
    assert both.actual.experiment.definition.config.type == "thompson_sampling"


def test_a_guardrail_that_decides_is_no_guardrail_any_more(made):
    definition = parse_definition(
        {
            "name": "Hero",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "guardrailMetrics": ["crash", "latency"],
            "metrics": {
                "crash": {
                    "kind": "binary",
                    "direction": "decrease",
                    "toleratedHarm": 0.1,
                    "prior": {"alpha": 1, "beta": 99},
                },
                "latency": {"toleratedHarm": 0.2},
            },
        },
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )

    config = Assumptions(metric="crash").applied_to(definition).config

    assert (config.primary_metric, config.secondary_metrics) == ("crash", ("click",))
    assert config.guardrail_metrics == ("latency",)
    assert config.spec("crash") == MetricSpec(kind=MetricKind.BINARY, direction=Direction.DECREASE)
    assert config.spec("latency").tolerated_harm == 0.2


def test_a_fixed_policy_shares_alike_where_no_weights_were_declared(made):
    both = found(made, Assumptions("bayesian_ab"))

    assert both.supposed.allocation.weights == (32_768, 32_768)


def test_until_leaves_later_records_out(made):
    both = found(made, Assumptions(), replace(INPUTS, until_ms=NOW_MS + 9))

    whole = found(made, Assumptions())
    counted = [variant.assignments for variant in both.actual.variants]
    assert 0 < sum(counted) < sum(variant.assignments for variant in whole.actual.variants)
    assert all(cell.last_offset <= 9 for cell in both.actual.cells)


def test_before_it_was_created_there_is_no_state(made):
    with pytest.raises(ExperimentNotFoundError):
        found(made, Assumptions(), replace(INPUTS, until_ms=NOW_MS - 1))


def test_an_ended_experiment_is_taken_as_running():
    made = installation(12)
    made.command(7, CommandKind.CONCLUDE)

    both = found(made, Assumptions(parameters={"prior_alpha": 2}))

    assert both.actual.experiment.status is Status.CONCLUDED
    assert both.supposed.experiment.status is Status.RUNNING
    assert "concluded" not in reason(both.supposed)
    assert both.supposed.recommended_action in set(RecommendedAction)


def test_another_cap_measures_the_units_of_the_log_anew(made):
    def totals(assumptions):
        both = what_if(made.log, INPUTS, MEASURED, assumptions)
        return [
            sum(v.metrics["click"].sum_micro for v in s.variants)
            for s in (both.actual, both.supposed)
        ]

    capped, free = totals(Assumptions(caps={"click": None}))
    assert totals(Assumptions(caps={"click": 3})) == [capped, capped]
    assert totals(Assumptions(caps={"click": 1}))[1] < capped < free


def test_another_floor_measures_the_units_of_the_log_anew(made):
    def totals(assumptions):
        both = what_if(made.log, INPUTS, MEASURED, assumptions)
        return [
            sum(v.metrics["click"].sum_micro for v in s.variants)
            for s in (both.actual, both.supposed)
        ]

    free = Assumptions(caps={"click": None})
    floored = Assumptions(caps={"click": None}, floors={"click": 1.5})
    assert totals(floored)[1] > totals(free)[1]


def test_units_of_different_times_count_otherwise(made):
    def interval(snapshot):
        return snapshot.variants[0].lower, snapshot.variants[0].upper

    alike = found(made, Assumptions(periods={}))
    assert interval(alike.actual) == interval(alike.supposed)
    faded = found(made, Assumptions(periods={"half_life": 900}))
    assert interval(faded.actual) == interval(alike.actual)
    # Even the newest units are some minutes old: fewer count, and less is known.
    assert interval(faded.supposed)[0] < interval(faded.actual)[0]
    assert interval(faded.supposed)[1] > interval(faded.actual)[1]
    measured = what_if(made.log, INPUTS, MEASURED, Assumptions(periods={}))
    assert measured.actual.experiment.definition.config.periods is not None
    assert measured.supposed.experiment.definition.config.periods is None
    longer = Assumptions(periods={"half_life": 7200}).experiment(measured.actual.experiment)
    periods = longer.definition.config.periods
    assert periods is not None
    assert (periods.half_life, periods.delayed) == (7200, True)


@pytest.mark.parametrize(
    ("assumptions", "code", "path"),
    [
        (Assumptions(periods={"half_life": 1}), "OUT_OF_RANGE", "config.periods.halfLife"),
        (Assumptions("best"), "UNKNOWN_TYPE", "config.type"),
        (Assumptions("ucb", prior=(1, 1)), "UNKNOWN_PARAMETER", "config.parameters.priorAlpha"),
        (Assumptions(prior=(0.0, 1.0)), "OUT_OF_RANGE", "config.parameters.priorAlpha"),
        (Assumptions(metric="7"), "INVALID_NAME", "config.primaryMetric"),
        (Assumptions(caps={"click": 0.0}), "OUT_OF_RANGE", "config.metrics.click.cap"),
        (Assumptions(caps={"view": 5.0}), "UNKNOWN_METRIC", "config.metrics.view"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_path(made, assumptions, code, path):
    with pytest.raises(InputError) as raised:
        found(made, assumptions)

    assert (raised.value.code, raised.value.path) == (code, path)
