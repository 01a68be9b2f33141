"""Reports of units whose propensities moved: hand-worked worlds in two periods."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.analysis.metric_input import SingleInput
from streams.analysis.traffic import Traffic, TrafficPlan
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source
from streams.tallies.merging import merge
from streams.tallies.plan import Plan

PLAN = Plan(declared=frozenset({"click"}), n_variants=2)

WEEKEND = [(0.75, (750, 30), (250, 10)), (0.25, (250, 20), (750, 60))]
"""4 % and then 8 % for both variants; A has most of the units when few convert."""

CONTEXT = [(0.9, (900, 180), (100, 10)), (0.1, (100, 60), (900, 450))]
"""A is better by 10 points for either kind of users, and is given those who convert less."""


def experiment(**config):
    definition = parse_definition(
        {"name": "Feed", "type": "thompson_sampling", "primaryMetric": "click"} | config,
        [{"name": "A", "isControl": True}, {"name": "B"}],
    )
    return Experiment(7, definition, Status.RUNNING, version=3, created_at_ms=1, started_version=2)


def tally(rows, value=MICRO):
    """Return the tally of rows: propensity of A, and units and conversions of A and of B."""
    assigned = CellBuilder(7, Source.IMPRESSIONS, 0, plan=PLAN)
    observed = CellBuilder(7, Source.OBSERVATIONS, 0, plan=PLAN)
    for at, (share, *variants) in enumerate(rows, 1):
        for variant, (units, conversions) in enumerate(variants):
            p = round(PROPENSITY_ONE * (1.0 - share if variant else share))
            assigned.add_units(at, {(variant, p, b""): units}, at, at)
            for _ in range(conversions):
                observed.add_value(at, (variant, p, b"", "click"), None, value, at)
    return merge(cell for each in (assigned, observed) if (cell := each.freeze()) is not None)


def reported(rows, *, is_by_context=False, value=MICRO):
    config = experiment().definition.config
    found = tally(rows, value)
    variants = [found.variants[index] for index in range(2)]
    traffic = Traffic.of(TrafficPlan(config.parameters, (0.5, 0.5)), variants)
    traffic = replace(traffic, is_by_context=is_by_context)
    metric = SingleInput.read(config, "click", variants, None)
    return metric.reported(metric.contrasts(traffic))


def test_weekends_make_no_variant_the_best_one():
    """By overlap and by 1 / p both convert at 6 %; B is moved to the times of A, at 5 %.

    Weighted by p_b, the sum of squares about 6 % of A is 12.225 at a weight of 375, which 0.06 *
    0.94 * 375^2 / 12.225 = 648.8 units come to. Of B it would be 888.7, and it is worth no more
    than its weights: 375^2 / 187.5 = 750.
    """
    a, b = reported(WEEKEND)

    assert (a.mean, b.mean) == pytest.approx((0.05, 0.05))
    assert (a.units, b.units) == pytest.approx((648.77, 750.0), abs=0.01)
    first, second = evaluate(experiment(), tally(WEEKEND), ()).variants
    assert first.mean == pytest.approx((1 + 0.05 * 648.773) / 650.773, rel=1e-5)
    assert first.probability_best == pytest.approx(0.5, abs=0.02)
    against = second.metrics["click"].against_control
    assert against is not None
    assert against.relative_lower is not None
    assert against.relative == pytest.approx(0.0, abs=0.01)
    assert against.relative_lower < 0.0


def test_amounts_are_moved_by_their_ratio():
    a, b = reported(WEEKEND, value=2_500_000)

    assert (a.mean, b.mean) == pytest.approx((0.125, 0.125))


def test_requests_that_a_policy_chose_by_are_weighted_by_propensity():
    """Hájek: 800 of 2,000 and 600 of 2,000, where plain counts say 24 % and 46 %."""
    a, b = reported(CONTEXT, is_by_context=True)

    assert (a.mean, b.mean) == pytest.approx((0.4, 0.3))
    # 900 / 0.9^2 + 100 / 0.1^2 = 11,111 is the sum of squared weights: 360 units at most.
    assert a.units <= 2_000**2 / 11_111


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 40), st.integers(0, 40))
def test_units_of_weights_that_never_moved_count_alike(n, clicks, others, other_clicks):
    rows = [(0.75, (n + clicks, clicks), (others + other_clicks, other_clicks))] * 2

    for is_by_context in (False, True):
        found = reported(rows, is_by_context=is_by_context)
        assert [each.units for each in found] == [2 * (n + clicks), 2 * (others + other_clicks)]
        assert [each.total for each in found] == [2 * clicks, 2 * other_clicks]


def test_a_policy_sees_0_and_1_as_such_whatever_kind_is_declared():
    """By differences, A would convert at 0.2 % less than nothing at the times of B."""
    rows = [(0.75, (75, 0), (25, 0)), (0.25, (25, 0), (175, 1))]
    config = experiment(metrics={"click": {"kind": "continuous"}}).definition.config
    found = tally(rows)
    variants = [found.variants[index] for index in range(2)]
    traffic = Traffic.of(TrafficPlan(config.parameters, (0.5, 0.5)), variants)

    samples = SingleInput.read(config, "click", variants, None).for_policy(traffic)

    assert all(0.0 <= each.total <= each.units for each in samples)


def test_a_variant_without_a_unit_leaves_the_other_as_it_is():
    a, b = reported([(0.75, (750, 30), (0, 0)), (0.25, (250, 20), (0, 0))])

    assert (a.units, a.mean) == (1_000, 0.05)
    assert b.units == 0
