import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import brentq

from streams.model.errors import InputError
from streams.model.validation import parse
from streams.policies.base import Arm
from streams.policies.ucb import UCB, UCBVariant, bernoulli_reach


def binary(*pairs):
    return [Arm(units, float(successes), 0.0, True, 1 / len(pairs)) for units, successes in pairs]


def values(*triples):
    return [Arm(units, total, spread, False, 1 / len(triples)) for units, total, spread in triples]


ARMS = binary((40, 8), (25, 7), (35, 5))
TUNED, KL = UCB(variant=UCBVariant.TUNED), UCB(variant=UCBVariant.KL)
LOG_T = math.log(100)


def divergence(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_tuned_bound_worked_by_hand():
    """8 of 40: variance 0.16 + sqrt(2 ln 100 / 40) is above 1/4; at 40,000 units it is not."""
    assert TUNED.bounds(ARMS)[0] == pytest.approx(0.2 + math.sqrt(LOG_T / 40 * 0.25))

    many = TUNED.bounds(binary((40_000, 8_000), (10_000, 100)))[0]

    log_t = math.log(50_000)
    variance = 0.16 + math.sqrt(2 * log_t / 40_000)
    assert many == pytest.approx(0.2 + math.sqrt(log_t / 40_000 * variance))


def test_kl_bound_solves_its_equation():
    level = LOG_T + 3 * math.log(LOG_T)

    for arm, bound in zip(ARMS, KL.bounds(ARMS), strict=True):
        assert arm.units * divergence(arm.total / arm.units, bound) == pytest.approx(level)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 3.0))
def test_bernoulli_reach_agrees_with_brentq(mean, level):
    top = 1.0 - 1e-13
    largest = divergence(mean, top)
    expected = brentq(lambda q: divergence(mean, q) - level, mean, top) if level < largest else top

    assert mean + bernoulli_reach(mean, level) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("mean", "level", "expected"),
    [(0.0, 0.5, -math.expm1(-0.5)), (1.0, 0.5, 0.0), (0.3, 0.0, 0.0), (0.3, 1e3, 0.7)],
)
def test_bernoulli_reach_at_the_ends(mean, level, expected):
    assert bernoulli_reach(mean, level) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 5), st.floats(0, 5))
def test_bernoulli_reach_grows_with_the_level_and_stays_below_one(mean, level, more):
    nearer, farther = bernoulli_reach(mean, level), bernoulli_reach(mean, level + more)

    assert 0.0 <= nearer <= farther + 1e-12
    assert mean + farther <= 1.0 + 1e-12


def test_kl_bound_is_within_that_of_pinsker():
    """2 (q - p)^2 <= kl(p, q), so the bound is tighter than any by Hoeffding at its level."""
    level = LOG_T + 3 * math.log(LOG_T)

    for arm, bound in zip(ARMS, KL.bounds(ARMS), strict=True):
        assert bound <= arm.total / arm.units + math.sqrt(level / (2 * arm.units))


@pytest.mark.parametrize("variant", ["ucb_tuned", "kl_ucb"])
def test_untried_arms_come_first(variant):
    assert UCB(variant=UCBVariant(variant)).shares(binary((0, 0), (5, 5), (0, 0))) == (
        0.5,
        0.0,
        0.5,
    )


@pytest.mark.parametrize("variant", ["ucb_tuned", "kl_ucb"])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e6])
def test_bounds_of_other_values_do_not_depend_on_the_unit_of_measurement(variant, factor):
    arms = [(400, 2_000.0, 900.0), (60, 297.0, 130.0)]
    scaled = values(*((n, factor * x, factor * factor * s) for n, x, s in arms))

    bounds = UCB(variant=UCBVariant(variant)).bounds(scaled)

    assert [bound / factor for bound in bounds] == pytest.approx(
        UCB(variant=UCBVariant(variant)).bounds(values(*arms))
    )


def test_bounds_of_other_values_worked_by_hand():
    """Pooled variance 4: two standard deviations of 2 are the unit of both bounds."""
    arms = values((50, 100.0, 200.0), (50, 50.0, 200.0))

    normal = KL.bounds(arms)[0]
    tuned = TUNED.bounds(arms)[0]

    assert normal == pytest.approx(2 + 2 * math.sqrt(2 * (LOG_T + 3 * math.log(LOG_T)) / 50))
    assert tuned == pytest.approx(2 + 2 * math.sqrt(LOG_T / 50 * (1 + math.sqrt(2 * LOG_T / 50))))


def test_tuned_follows_the_spread_of_each_arm():
    arms = values((100, 100.0, 1.0), (100, 100.0, 400.0))

    assert TUNED.shares(arms) == (0.0, 1.0)


def test_c_depends_on_the_variant():
    assert (UCB().c, KL.c, TUNED.c) == (2.0, 3.0, None)
    assert UCB(c=2.0) == UCB()
    assert UCB(variant=UCBVariant.KL, c=0.0).bounds(ARMS) < KL.bounds(ARMS)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"variant": "ucb_tuned", "c": 2.0}, "PARAMETER_NOT_USED"),
        ({"c": 0.0}, "OUT_OF_RANGE"),
        ({"variant": "kl_ucb", "c": -1.0}, "OUT_OF_RANGE"),
    ],
)
def test_c_outside_its_domain_is_refused(parameters, code):
    with pytest.raises(InputError) as refused:
        parse(UCB, parameters, "config.parameters")

    assert (refused.value.code, refused.value.path) == (code, "config.parameters.c")


def test_what_is_no_mapping_is_refused():
    with pytest.raises(ValidationError):
        UCB.model_validate([])


@pytest.mark.parametrize("variant", ["ucb1", "ucb_tuned", "kl_ucb"])
def test_policy_survives_its_own_json(variant):
    policy = UCB(variant=UCBVariant(variant))

    assert parse(UCB, policy.model_dump(by_alias=True, mode="json")) == policy
