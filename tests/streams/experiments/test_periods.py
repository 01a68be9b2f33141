"""Experiments whose units count by their time: what is declared, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics.metric_model import Periods
from streams.model.errors import InputError
from streams.model.ids import MAX_VARIANTS
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.stats.kinds import MetricKind
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, VariantTally
from streams.tallies.merging import merge
from streams.tallies.periods import FINEST_SHIFT, tick_of
from streams.tallies.plan import PeriodPlan, Plan

TICK_MS = 1 << FINEST_SHIFT
HALF = PROPENSITY_ONE // 2


def experiment(kind="thompson_sampling", periods=None, **config):
    definition = parse_definition(
        {"name": "Feed", "type": kind, "primaryMetric": "click", "periods": periods} | config,
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )
    return Experiment(7, definition, Status.RUNNING, version=3, created_at_ms=1, started_version=2)


PLAN = Plan(declared=frozenset({"click"}), n_variants=2)


def tally(rows, propensities=(HALF, HALF), delay_ms=0):
    """Return the tally of units and conversions of both variants, one row a period."""
    assigned = CellBuilder(7, Source.IMPRESSIONS, 0, plan=PLAN)
    observed = CellBuilder(7, Source.OBSERVATIONS, 0, plan=PLAN)
    for tick, row in enumerate(rows):
        at_ms = tick * TICK_MS
        for variant, (units, conversions) in enumerate(row):
            p = propensities[variant]
            assigned.add_units(tick, {(variant, p, b""): units}, at_ms, at_ms)
            assigned.sums.add_assigned({(variant, tick_of(at_ms)): units})
            for _ in range(conversions):
                key = variant, p, b"", "click"
                observed.add_value(tick, key, None, MICRO, at_ms + delay_ms)
                observed.sums.add_period_value(variant, None, MICRO, at_ms, at_ms + delay_ms)
    return merge(cell for each in (assigned, observed) if (cell := each.freeze()) is not None)


# A was better and is worse now; A had most of the units.
TURNED = [[(900, 90), (900, 45)]] * 10 + [[(100, 4), (100, 12)]] * 20
# A is better in both halves, and has most of its units in the one in which few convert.
SIMPSON = [[(9_000, 90), (1_000, 8)]] * 2 + [[(1_000, 50), (9_000, 405)]] * 2


def test_all_alike_unless_declared():
    value = experiment()

    assert value.definition.config.periods is None
    assert plan_of(value.definition).by_period is None
    assert plan_of(experiment(periods={"delayed": True}).definition).by_period == PeriodPlan(
        "click", MAX_VARIANTS
    )


def test_a_half_life_makes_the_policy_follow_a_rate_that_has_changed():
    ever = evaluate(experiment(), tally(TURNED), ())
    lately: Any = evaluate(experiment(periods={"halfLife": 900}), tally(TURNED), ())

    assert ever.allocation.weights[0] > 60_000
    assert lately.allocation.weights[1] > 60_000
    assert lately.variants[1].probability_best > 0.99
    report = lately.variants[1].metrics["click"]
    # Means and posteriors are of what is remembered, and counts of all there was.
    assert report.mean > 0.09
    assert (report.units, lately.variants[1].assignments) == (690, 11_000)
    lower, upper = lately.variants[1].lower, lately.variants[1].upper
    assert lower < lately.variants[1].mean < upper
    assert ever.variants[1].mean == pytest.approx(691 / 11_002)
    assert lately.metrics["click"].periods == Periods(half_life=900)
    assert ever.metrics["click"].periods is None


def test_strata_keep_a_drifting_base_rate_from_naming_the_wrong_one():
    alike = evaluate(experiment(), tally(SIMPSON), ())
    by_period = evaluate(experiment(periods={"stratified": True}), tally(SIMPSON), ())

    assert alike.variants[1].probability_best > 0.999
    assert by_period.variants[0].probability_best > 0.8
    assert by_period.allocation.weights[0] > by_period.allocation.weights[1]


def test_what_a_conclusion_follows_from_takes_all_units_alike():
    alike = evaluate(experiment(), tally(SIMPSON), ())
    for periods in ({"stratified": True}, {"halfLife": 3600}, {"delayed": True}):
        found = evaluate(experiment(periods=periods), tally(SIMPSON), ())
        assert found.evidence is not None
        assert alike.evidence is not None
        assert found.evidence.sample_ratio == alike.evidence.sample_ratio
        assert found.evidence.units == alike.evidence.units
        if found.evidence.leader == alike.evidence.leader:
            assert found.evidence.comparisons == alike.evidence.comparisons


def test_metrics_besides_the_primary_one_take_all_units_alike():
    value = experiment(periods={"halfLife": 900}, secondaryMetrics=["view"])
    counted = tally(TURNED)

    view = evaluate(value, counted, ()).variants[0].metrics["view"]

    assert view.units == 0


@pytest.mark.parametrize("kind", ["thompson_sampling", "ucb", "epsilon_greedy"])
def test_every_policy_sees_the_arms_by_period(kind):
    ever = evaluate(experiment(kind), tally(TURNED), ()).allocation.weights
    lately: Any = evaluate(
        experiment(kind, {"halfLife": 900}), tally(TURNED), ()
    ).allocation.weights

    assert ever[0] > ever[1]
    assert lately[1] > lately[0]


def test_a_metric_that_is_to_fall_is_read_by_period_too():
    value = experiment(periods={"halfLife": 900}, metrics={"click": {"direction": "decrease"}})

    assert evaluate(value, tally(TURNED), ()).allocation.weights[0] > 60_000


@pytest.mark.parametrize(
    ("kind", "value", "refund"),
    [(None, 3, 1), ("count", 3, 1), ("revenue", 2.5, 1), (None, 2.5, 1), (None, 0.5, 1)],
)
def test_a_kind_that_all_units_have_and_the_newest_have_not_is_not_used(kind, value, refund):
    """Sales, and long after them refunds: with a half-life the sum is below 0."""
    declared = {} if kind is None else {"metrics": {"click": {"kind": kind}}}
    assigned = CellBuilder(7, Source.IMPRESSIONS, 0, plan=PLAN)
    observed = CellBuilder(7, Source.OBSERVATIONS, 0, plan=PLAN)
    for tick, n, micro in ((0, 60, round(value * MICRO)), (100, 20, -refund * MICRO)):
        at_ms = tick * TICK_MS
        for variant in (0, 1):
            assigned.add_units(tick, {(variant, HALF, b""): 200}, at_ms, at_ms)
            assigned.sums.add_assigned({(variant, tick_of(at_ms)): 200})
            for _ in range(n):
                observed.add_value(tick, (variant, HALF, b"", "click"), None, micro, at_ms)
                observed.sums.add_period_value(variant, None, micro, at_ms, at_ms)
    counted = merge(cell for each in (assigned, observed) if (cell := each.freeze()) is not None)

    for policy in ("thompson_sampling", "ucb", "epsilon_greedy"):
        found: Any = evaluate(experiment(policy, {"halfLife": 900}, **declared), counted, ())
        assert found.metrics["click"].kind is MetricKind.CONTINUOUS
        assert found.variants[0].mean < 0
        if kind is not None:
            assert found.metrics["click"].contradiction is not None


def test_units_that_were_counted_without_their_period_make_all_count_alike():
    value, plain = experiment(periods={"halfLife": 900}), experiment()
    counted = tally(TURNED)
    units = {7: VariantTally(), 0: replace(counted.variants[0], periods={})}

    found = evaluate(value, replace(counted, variants={**counted.variants, **units}), ())

    expected = evaluate(plain, counted, ())
    assert found.variants == expected.variants
    assert found.allocation.weights == expected.allocation.weights


def test_without_any_unit_all_is_even():
    value = experiment(periods={"halfLife": 900, "delayed": True, "stratified": True})

    assert evaluate(value, merge([]), ()).allocation.weights == (32_768, 32_768)


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"periods": {}}, "MISSING_FIELD", "config.periods.halfLife"),
        ({"periods": {"halfLife": 899}}, "OUT_OF_RANGE", "config.periods.halfLife"),
        ({"periods": {"halfLife": 10**9}}, "OUT_OF_RANGE", "config.periods.halfLife"),
        ({"periods": {"delayed": "yes"}}, "WRONG_TYPE", "config.periods.delayed"),
        ({"periods": {"days": 3}}, "UNKNOWN_FIELD", "config.periods.days"),
        (
            {
                "periods": {"delayed": True},
                "metrics": {"click": {"kind": "ratio", "numerator": "a", "denominator": "b"}},
            },
            "RATIO_WITHOUT_PERIODS",
            "config.periods",
        ),
        (
            {
                "type": "lin_ts",
                "periods": {"delayed": True},
                "parameters": {
                    "features": [{"name": "age", "type": "number", "minimum": 0, "maximum": 1}]
                },
            },
            "PERIODS_NOT_CONTEXTUAL",
            "config.periods",
        ),
    ],
)
def test_what_cannot_be_used_says_so(config, code, path):
    with pytest.raises(InputError) as error:
        experiment(**config)

    assert (error.value.code, error.value.path) == (code, path)
