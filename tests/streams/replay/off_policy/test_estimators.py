"""The estimators against hand-worked numbers, exact enumeration, and the library of their field."""

from __future__ import annotations

import csv
import io
import itertools
import math
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from streams.cli.open_bandit.dataset import fetch_wheel
from streams.model.errors import InvalidParameterError
from streams.replay.off_policy.estimators import (
    diagnose,
    dm,
    dr,
    gain,
    ipw,
    linear_dm,
    mean,
    snipw,
    switch_dr,
    variant_means,
)
from streams.replay.off_policy.intervals import UNKNOWN, BoundedSample, ValueEstimate, estimate

# Four units: variants 0, 1, 0, 1 by even chances; the target gives variant 1 three quarters.
WEIGHTS = np.array([0.5, 1.5, 0.5, 1.5])
VALUES = np.array([0.0, 1.0, 1.0, 0.0])
OF_ASSIGNED = np.array([0.2, 0.6, 0.2, 0.6])
OF_TARGET = np.array([0.5, 0.5, 0.5, 0.5])


def test_four_units_by_hand():
    # w x = 0, 1.5, 0.5, 0: mean 1/2, variance (0.25 + 1 + 0 + 0.25) / 3 = 1/2.
    found = ipw(WEIGHTS, VALUES)
    assert found.value == 0.5
    assert found.value - found.lower == pytest.approx(1.959964 * math.sqrt(0.5 / 4), rel=1e-6)
    assert found.upper - found.value > found.value - found.lower  # the values are skewed
    # Weights sum to 4 = n, so normalising changes nothing here but the interval:
    # w (x - 1/2) = -0.25, 0.75, 0.25, -0.75, squares sum to 1.25.
    found = snipw(WEIGHTS, VALUES)
    assert found.value == 0.5
    assert found.upper - found.value == pytest.approx(1.959964 * math.sqrt(1.25 / 12), rel=1e-6)
    # q + w (x - q) = 0.5 - 0.1, 0.5 + 0.6, 0.5 + 0.4, 0.5 - 0.9.
    assert dr(WEIGHTS, VALUES, OF_ASSIGNED, OF_TARGET).value == pytest.approx(0.5)
    # Without the corrections of the second and fourth unit: 0.4, 0.5, 0.9, 0.5.
    found = switch_dr(WEIGHTS, VALUES, OF_ASSIGNED, OF_TARGET, 1.0)
    assert found.value == pytest.approx(0.575)
    assert not found.is_known  # its bias is not known
    # Less what was earned: 0.4 - 0, 1.1 - 1, 0.9 - 1, -0.4 - 0.
    assert gain(WEIGHTS, VALUES, OF_ASSIGNED, OF_TARGET).value == pytest.approx(0.0)
    known = diagnose(WEIGHTS)
    assert (known.effective_units, known.largest_weight) == (16 / 5, 1.5)
    assert known.mean_weight.value == 1.0


def test_skewness_is_removed_by_hand():
    """Influences -1, -1, -1, 3: s^2 = 3, skewness (27 - 3) / 4 / 3^1.5 = 2 / sqrt(3)."""
    skewness, n_units, z = 2 / math.sqrt(3), 4, 1.959964

    found = estimate(10.0, np.array([-1.0, -1.0, -1.0, 3.0]))

    # W + g W^2 / 3 + g^2 W^3 / 27 + g / (6 n) == -z / sqrt(n) at the upper end.
    w = (10.0 - found.upper) / math.sqrt(3)
    transformed = w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + skewness / (6 * n_units)
    assert transformed == pytest.approx(-z / 2, rel=1e-6)
    assert found.lower == pytest.approx(10.0 - z)  # of the normal one: s / sqrt(3) == 1
    assert not found.is_reliable  # 4 units, and 25 times (2.5 / sqrt(3))^2 are needed


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (3, 20), (20, 20)])
def test_of_equal_weights_the_interval_contains_that_of_clopper_and_pearson(successes, trials):
    values = np.array([2.0] * successes + [0.0] * (trials - successes))

    found = ipw(np.ones(trials), values, largest=2.0)

    exact = stats.binomtest(successes, trials).proportion_ci(0.95)
    assert found.lower <= 2.0 * exact.low + 1e-12
    assert found.upper >= 2.0 * exact.high - 1e-12
    assert found.is_reliable


def test_a_target_that_is_the_logging_policy_gains_exactly_nothing():
    values, model = np.array([0.0, 1.0, 0.0, 0.0]), np.full(4, 0.25)

    found = gain(np.ones(4), values, model, model, largest=1.0)

    assert (found.value, found.lower, found.upper) == (0.0, 0.0, 0.0)


def test_bounds_of_an_estimate_outside_its_range_contain_it():
    found = estimate(-0.1, np.array([0.0, 0.0]), bounded=BoundedSample(1.0, 10.0))

    assert found.lower <= -0.1 < 0.2 < found.upper


def test_linear_direct_method_is_the_model_where_the_model_is_true():
    # Variant 0 earns 1 + x, variant 1 earns 3 - x; the target takes variant 1 where x < 1.
    x = np.tile([0.0, 1.0, 2.0], 20_000)
    variants = np.repeat([0, 1], 30_000)
    values = np.where(variants == 0, 1.0 + x, 3.0 - x)
    shares = np.stack([x >= 1.0, x < 1.0], axis=1).astype(float)

    found = linear_dm(np.stack([np.ones_like(x), x], axis=1), variants, values, shares)

    assert found.value == pytest.approx((3.0 + 2.0 + 3.0) / 3, abs=1e-3)
    assert linear_dm(np.ones((2, 1)), np.zeros(2, int), np.ones(2), np.eye(2)) is UNKNOWN


def test_means_of_variants_by_hand():
    # 1 / p = 4, 2, 4/3, 2: variant 0 has (4 * 1 + 4/3 * 0) / (16/3) = 3/4.
    means, errors = variant_means(
        np.array([0, 1, 0, 1]),
        np.array([0.25, 0.5, 0.75, 0.5]),
        np.array([1.0, 0.0, 0.0, 0.0]),
        3,
    )
    assert means.tolist() == [0.75, 0.0, pytest.approx(math.nan, nan_ok=True)]
    # (4 * 1/4)^2 + (4/3 * 3/4)^2 = 2, and the root of it over 16/3.
    assert errors.tolist() == [pytest.approx(math.sqrt(2) * 3 / 16), 0.0, math.inf]
    # With the bound 1, variant 1 has 2 of 2 + 4 successes: sqrt(1/3 2/3 / 6).
    _, errors = variant_means(np.array([1, 1]), np.full(2, 0.5), np.zeros(2), 2, 1.0)
    assert errors[1] == pytest.approx(math.sqrt(2 / 9 / 6))


def test_direct_method_by_hand():
    found = dm(np.array([0.25, 0.75, 0.0]), np.array([0.4, 0.8, math.nan]), np.array([3.0, 4, 9]))
    assert found.value == pytest.approx(0.7)
    assert found.upper - 0.7 == pytest.approx(1.959964 * math.sqrt(0.75**2 + 3.0**2), rel=1e-6)


def test_a_variant_that_was_never_tried_leaves_the_direct_method_without_an_answer():
    assert dm(np.array([0.9, 0.1]), np.array([1.0, math.nan]), np.zeros(2)) is UNKNOWN
    assert snipw(np.zeros(3), np.ones(3)) is UNKNOWN
    assert not UNKNOWN.is_known


def test_one_unit_gives_no_interval():
    one = np.ones(1)
    for found in (mean(one), ipw(one, one), snipw(one, one)):
        assert (found.value, found.lower, found.upper) == (1.0, -math.inf, math.inf)
        assert not found.is_known


def test_a_level_outside_its_domain_is_refused():
    with pytest.raises(InvalidParameterError):
        ValueEstimate.of(0.0, 1.0, 1.0)


# A tiny instance: two units, two variants with means that differ by unit. The first is assigned by
# chances 1/4 and 3/4, the second by chances that depend on the outcome of the first.
RATES = ((0.5, 0.1), (0.3, 0.9))


def _outcomes(unit: int, propensity: float, variant: int):
    chance = propensity if variant == 0 else 1.0 - propensity
    for value in (0, 1):
        rate = RATES[unit][variant]
        yield chance * (rate if value else 1.0 - rate), chance, value


def test_weights_have_no_bias_while_both_policies_learn():
    """Enumerates all 16 logs of two units: the expectations are exact."""
    expected: dict[str, float] = dict.fromkeys(("target", "ipw", "dr", "weight"), 0.0)
    for first, second in itertools.product((0, 1), repeat=2):
        for chance_1, p_1, value_1 in _outcomes(0, 0.25, first):
            logging = 0.8 if (first, value_1) in {(0, 1), (1, 0)} else 0.4
            for chance_2, p_2, value_2 in _outcomes(1, logging, second):
                # The target and its model learn from the first unit, too.
                target = np.array([[0.6, 0.4], [0.1 + 0.7 * value_1, 0.9 - 0.7 * value_1]])
                model = np.array([[0.0, 0.0], [0.2 + value_1, 5.0 * first]])
                assigned = np.array([first, second])
                rows = np.arange(2)
                weights = target[rows, assigned] / np.array([p_1, p_2])
                values = np.array([value_1, value_2], dtype=float)
                chance = chance_1 * chance_2
                expected["target"] += chance * float((target * RATES).sum(axis=1).mean())
                expected["ipw"] += chance * ipw(weights, values).value
                expected["weight"] += chance * diagnose(weights).mean_weight.value
                of_target = (target * model).sum(axis=1)
                expected["dr"] += (
                    chance * dr(weights, values, model[rows, assigned], of_target).value
                )

    assert expected["ipw"] == pytest.approx(expected["target"], abs=1e-12)
    assert expected["dr"] == pytest.approx(expected["target"], abs=1e-12)
    assert expected["weight"] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.statistical
def test_intervals_cover_as_often_as_they_say():
    """2,000 logs of 2,000 units under chances of 0.2 and 0.8, rates 0.05 and 0.08, target 0.7, 0.3.

    An interval of 95 % covers in 1,900 of them, +- 9.7; four standard errors and half a per cent
    for the normal approximation make bounds that fail less often than 1e-4.
    """
    random = np.random.default_rng(20)
    n_logs, n_units = 2_000, 2_000
    rates, chances, target = np.array([0.05, 0.08]), np.array([0.2, 0.8]), np.array([0.7, 0.3])
    truth = float((rates * target).sum())
    covered = dict.fromkeys(("ipw", "snipw", "dr", "dm"), 0)
    for _ in range(n_logs):
        variants = (random.random(n_units) < chances[1]).astype(np.int64)
        values = (random.random(n_units) < rates[variants]).astype(float)
        weights = (target / chances)[variants]
        of_target = np.full(n_units, float((np.array([0.06, 0.06]) * target).sum()))
        means, errors = variant_means(variants, chances[variants], values, 2)
        for name, found in (
            ("ipw", ipw(weights, values)),
            ("snipw", snipw(weights, values)),
            ("dr", dr(weights, values, np.full(n_units, 0.06), of_target)),
            ("dm", dm(target, means, errors)),
        ):
            covered[name] += found.lower <= truth <= found.upper

    for name, times in covered.items():
        assert 0.945 - 4 * 0.0049 < times / n_logs < 0.955 + 4 * 0.0049, name


columns = st.integers(2, 20).flatmap(
    lambda n: st.tuples(
        *(npst.arrays(float, n, elements=st.floats(low, 10.0)) for low in (0.01, -10, -10, -10)),
        st.permutations(range(n)),
    )
)


@given(columns)
def test_the_order_of_the_units_does_not_matter(drawn):
    *log, order = drawn
    again = [column[list(order)] for column in log]

    assert dr(*again).value == pytest.approx(dr(*log).value, abs=1e-9)
    assert snipw(*again[:2]).upper == pytest.approx(snipw(*log[:2]).upper, abs=1e-9)


@given(columns, st.floats(-5, 5))
def test_self_normalising_moves_along_with_the_values(drawn, shift):
    weights, values = drawn[0], drawn[1]

    moved, still = snipw(weights, values + shift), snipw(weights, values)

    assert moved.value == pytest.approx(still.value + shift, abs=1e-9)
    assert moved.upper - moved.lower == pytest.approx(still.upper - still.lower, abs=1e-7)
    assert values.min() - 1e-9 <= still.value <= values.max() + 1e-9


@given(columns)
def test_the_doubly_robust_one_has_the_others_as_its_ends(drawn):
    weights, values, of_assigned, of_target, _ = drawn
    nothing = np.zeros_like(values)

    assert dr(weights, values, nothing, nothing) == ipw(weights, values)
    assert switch_dr(weights, values, of_assigned, of_target, 1e9) == dr(
        weights, values, of_assigned, of_target
    )
    assert switch_dr(weights, values, of_assigned, of_target, 0.0).value == mean(of_target).value


@given(columns, st.floats(0.5, 0.9), st.floats(0.01, 0.09))
def test_a_higher_level_gives_a_wider_interval(drawn, level, more):
    weights, values = drawn[0], drawn[1]

    narrow, wide = snipw(weights, values, level), snipw(weights, values, level + more)

    assert wide.lower <= narrow.lower <= narrow.upper <= wide.upper


@pytest.mark.parametrize(("policy", "campaign"), [("random", "all"), ("bts", "men")])
def test_obp_gives_the_same_on_its_own_data(obp, policy, campaign):
    with zipfile.ZipFile(fetch_wheel()) as wheel:
        text = wheel.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    action = np.array([int(row["item_id"]) for row in rows])
    reward = np.array([float(row["click"]) for row in rows])
    pscore = np.array([float(row["propensity_score"]) for row in rows])
    n_units, n_arms = len(rows), int(action.max()) + 1
    random = np.random.default_rng(4)
    target = random.dirichlet(np.full(n_arms, 0.5), size=n_units)
    model = random.beta(1.0, 200.0, size=(n_units, n_arms))
    logged = {"reward": reward, "action": action, "pscore": pscore}
    asked = {"action_dist": target[:, :, None]}
    modelled = asked | {"estimated_rewards_by_reg_model": model[:, :, None]}
    units = np.arange(n_units)
    weights = target[units, action] / pscore
    columns = weights, reward, model[units, action], (target * model).sum(axis=1)

    ours = {
        "IPW": ipw(weights, reward),
        "SNIPW": snipw(weights, reward),
        "DM": mean(columns[3]),
        "DR": dr(*columns),
        "Switch-DR": switch_dr(*columns, 2.0),
    }

    theirs = {
        "IPW": obp.InverseProbabilityWeighting().estimate_policy_value(**logged, **asked),
        "SNIPW": obp.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(
            **logged, **asked
        ),
        "DM": obp.DirectMethod().estimate_policy_value(**modelled),
        "DR": obp.DoublyRobust().estimate_policy_value(**logged, **modelled),
        "Switch-DR": obp.SwitchDoublyRobust(tau=2.0).estimate_policy_value(**logged, **modelled),
    }
    assert {name: found.value for name, found in ours.items()} == pytest.approx(theirs, rel=1e-12)
    assert 0 < (weights > 2.0).sum() < n_units
