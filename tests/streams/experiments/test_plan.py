import math

import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.update import ExperimentUpdate
from streams.model.errors import InputError
from streams.model.validation import parse
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind

PLAN = {"baseline": 0.1, "lift": 0.1, "units": 20_000}


def config(plan, kind=None, direction="increase", **fields):
    spec = {"direction": direction} | ({} if kind is None else {"kind": kind})
    if kind == "ratio":
        spec |= {"numerator": "clicks", "denominator": "views"}
    declared = {
        "name": "Hero", "type": "bayesian_ab", "primaryMetric": "m", "metrics": {"m": spec},
        "plan": plan, **fields,
    }  # fmt: skip
    variants = [{"name": "A", "isControl": True}, {"name": "B"}]
    return parse_definition(declared, variants).config


def refused(plan, *args, **fields):
    with pytest.raises(InputError) as caught:
        config(plan, *args, **fields)
    return caught.value.code, caught.value.path.removeprefix("config.")


def test_information_worked_by_hand():
    """20,000 units of either variant, whose values have the variances 0.09 and 0.0979."""
    assert config(PLAN).planned_information == pytest.approx(20_000 * (0.09 + 0.0979))
    assert config(PLAN, "count").planned_information == pytest.approx(20_000 * (0.1 + 0.11))
    spread = PLAN | {"deviation": 4.0}
    for kind in ("count", "continuous", "revenue", "ratio"):
        assert config(spread, kind).planned_information == 40_000 * 16.0


def test_lift_is_in_the_direction_of_the_metric():
    found = config(PLAN, "binary", "decrease")

    assert found.plan.best(Direction.DECREASE) == pytest.approx(0.09)
    assert found.planned_information == pytest.approx(20_000 * (0.09 + 0.0819))


def test_drift_is_the_mean_of_z_at_the_end():
    drift = config(PLAN).plan.drift(MetricKind.BINARY, Direction.INCREASE)

    assert drift == pytest.approx(0.01 / math.sqrt((0.09 + 0.0979) / 20_000))


def test_share_of_the_mean_worked_by_hand():
    """A mean of 4 and a variance of 24: 16 of 40. A rate is its own share: 0.1**2 of 0.1."""
    assert config(PLAN).plan.share_of_mean(MetricKind.BINARY) == 0.1
    assert config(PLAN, "count").plan.share_of_mean(MetricKind.COUNT) == 0.0
    spread = PLAN | {"baseline": 4.0, "deviation": 24**0.5}
    for kind in (MetricKind.COUNT, MetricKind.CONTINUOUS, MetricKind.REVENUE):
        assert config(spread, kind).plan.share_of_mean(kind) == pytest.approx(0.4)
    assert config(spread, "ratio").plan.share_of_mean(MetricKind.RATIO) == 0.0
    alike = PLAN | {"baseline": 1e12, "deviation": 1e-9}
    assert config(alike, "revenue").plan.share_of_mean(MetricKind.REVENUE) < 1.0


@pytest.mark.parametrize("name", ["baseline", "lift", "units"])
def test_what_a_plan_needs(name):
    plan = {key: value for key, value in PLAN.items() if key != name}

    assert refused(plan) == ("MISSING_FIELD", f"plan.{name}")


@pytest.mark.parametrize(
    ("change", "kind", "expected"),
    [
        ({"baseline": 0.0}, None, ("OUT_OF_RANGE", "plan.baseline")),
        ({"baseline": 1.0}, None, ("OUT_OF_RANGE", "plan.baseline")),
        ({"baseline": -0.1}, "count", ("OUT_OF_RANGE", "plan.baseline")),
        ({"baseline": 0.95}, "binary", ("OUT_OF_RANGE", "plan.lift")),
        ({"lift": 0.0}, None, ("OUT_OF_RANGE", "plan.lift")),
        ({"lift": -0.1}, None, ("OUT_OF_RANGE", "plan.lift")),
        ({"units": 0}, None, ("OUT_OF_RANGE", "plan.units")),
        ({"units": 1.5}, None, ("WRONG_TYPE", "plan.units")),
        ({"baseline": "much"}, None, ("WRONG_TYPE", "plan.baseline")),
        ({"baseline": math.nan}, None, ("NOT_FINITE", "plan.baseline")),
        ({}, "revenue", ("MISSING_FIELD", "plan.deviation")),
        ({}, "continuous", ("MISSING_FIELD", "plan.deviation")),
        ({}, "ratio", ("MISSING_FIELD", "plan.deviation")),
        ({"deviation": 0.3}, "binary", ("DEVIATION_NOT_USED", "plan.deviation")),
        ({"deviation": 0.0}, "count", ("OUT_OF_RANGE", "plan.deviation")),
        ({"looks": 5}, None, ("UNKNOWN_FIELD", "plan.looks")),
    ],
)
def test_plans_that_do_not_suit_are_refused(change, kind, expected):
    assert refused(PLAN | change, kind) == expected


def test_a_rate_cannot_fall_below_0():
    assert refused(PLAN | {"lift": 1.5}, "binary", "decrease") == ("OUT_OF_RANGE", "plan.lift")


def test_amounts_may_be_planned_below_0():
    assert config(PLAN | {"baseline": -3.0, "deviation": 2.0}, "continuous").plan is not None


def test_negligible_difference_is_half_the_planned_lift_unless_stated():
    assert config(PLAN).negligible_share == 0.05
    assert config(PLAN, negligibleDifference=0.02).negligible_share == 0.02
    assert config(None).negligible_share == 0.01


@pytest.mark.parametrize("value", [0.0, -0.01, 1.5])
def test_negligible_differences_are_shares(value):
    assert refused(PLAN, negligibleDifference=value) == ("OUT_OF_RANGE", "negligibleDifference")


def test_a_plan_is_fixed():
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, {"plan": PLAN})

    assert (caught.value.code, caught.value.path) == ("PLAN_FIXED", "plan")
