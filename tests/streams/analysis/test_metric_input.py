import math

import pytest

from streams.analysis.metric_input import SingleInput
from streams.experiments.definition import parse_definition
from streams.model.quantities import MICRO
from streams.policies.base import Arm
from streams.tallies.cell import MetricTally, VariantTally


def tally(units, *values):
    metric = MetricTally(
        len(values),
        len(values),
        sum(values) * MICRO,
        sum(value * value for value in values) * MICRO * MICRO,
    )
    return VariantTally(units, metrics={"click": metric})


def arms_of(variants, weights):
    config = {"name": "Hero", "type": "ucb", "primaryMetric": "click"}
    definition = parse_definition(config, [{"name": "A", "isControl": True}, {"name": "B"}])
    found = SingleInput.read(definition.config, "click", variants, None)
    return found.arms(found.all_samples, weights)


def test_arms_of_clicks():
    arms = arms_of([tally(10, 1, 1, 1), VariantTally(5)], [0.7, 0.3])

    spread = 3 * 0.7**2 + 7 * 0.3**2
    assert arms[0].squared_deviations == pytest.approx(spread)
    assert arms == (
        Arm(10, 3.0, arms[0].squared_deviations, is_binary=True, weight=0.7),
        Arm(5, 0.0, 0.0, is_binary=True, weight=0.3),
    )


def test_one_other_value_makes_the_metric_of_all_variants_another():
    arms = arms_of([tally(10, 1), tally(10, 3, 1)], [0.5, 0.5])

    assert [arm.is_binary for arm in arms] == [False, False]
    assert arms[1].total == 4.0
    assert arms[1].squared_deviations == pytest.approx(10 - 10 * 0.4**2)


def test_observation_that_came_before_its_impression_counts_as_assigned():
    assert [arm.units for arm in arms_of([tally(0, 1), tally(3, 1)], [0.5, 0.5])] == [1, 3]


def test_spread_of_large_values_keeps_its_digits():
    """A million and a million and one: the difference of the sums of squares is taken exactly."""
    arm, _ = arms_of([tally(2, 10**9, 10**9 + 1), tally(0)], [0.5, 0.5])

    assert arm.squared_deviations == 0.5
    assert math.isclose(arm.total, 2e9 + 1)
