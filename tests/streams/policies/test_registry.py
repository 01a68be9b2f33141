import importlib
import math
import pkgutil
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams import policies
from streams.policies.base import Arm, Policy
from streams.policies.bayesian_ab import BayesianAB
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.features import Feature, FeatureType
from streams.policies.epsilon_greedy import EpsilonGreedy
from streams.policies.registry import POLICIES
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.top_two_thompson import TopTwoThompson
from streams.policies.ucb import UCB, UCBVariant


def binary(*pairs):
    return [
        Arm(units, float(successes), 0.0, is_binary=True, weight=1 / len(pairs))
        for units, successes in pairs
    ]


def continuous(*samples):
    return [
        Arm(
            len(sample),
            math.fsum(sample),
            math.fsum((x - math.fsum(sample) / len(sample)) ** 2 for x in sample),
            is_binary=False,
            weight=1 / len(samples),
        )
        for sample in samples
    ]


# The arms of every comparison with `mabwiser` 2.7.4: 8 of 40, 7 of 25, 5 of 35.
ARMS = binary((40, 8), (25, 7), (35, 5))


def test_every_policy_of_the_package_is_registered_by_its_type():
    modules = pkgutil.walk_packages(policies.__path__, f"{policies.__name__}.")
    found = {
        value
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, Policy) and "type" in vars(value)
    }

    assert {policy.type: policy for policy in found} == POLICIES
    assert [name for name, policy in POLICIES.items() if not policy.adaptive] == ["bayesian_ab"]


def test_the_page_on_statistics_has_a_row_for_every_policy():
    page = (Path(__file__).parents[3] / "docs/explanation/statistics.md").read_text()
    pattern = re.compile(r"^## (?:P|Contextual p)olicies\n(.*?)(?=^## )", re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|", "".join(pattern.findall(page)), re.MULTILINE)

    assert set(rows) - {"type"} == POLICIES.keys()


def test_thompson_shares_agree_with_the_draws_of_mabwiser():
    """ThompsonSampling(), seed 7: 100,000 draws; 0.006 is over four standard errors."""
    shares = ThompsonSampling().shares(ARMS)

    assert shares == pytest.approx((0.20148, 0.73723, 0.06129), abs=0.006)


def test_thompson_follows_its_prior_without_data():
    flat = ThompsonSampling(prior_alpha=50, prior_beta=50).shares(binary((3, 3), (3, 0)))
    weak = ThompsonSampling().shares(binary((3, 3), (3, 0)))

    assert 0.5 < flat[0] < weak[0] < 1.0


def test_thompson_prefers_the_larger_mean_of_any_values():
    shares = ThompsonSampling().shares(continuous([10.0, 12.0, 11.0] * 9, [20.0, 22.0, 21.0] * 9))

    assert shares[1] > 0.999


def test_ucb_bounds_are_those_of_mabwiser():
    """UCB1(alpha=2) there is c = 2 sqrt(2) here."""
    policy = UCB(c=2 * math.sqrt(2))

    assert policy.bounds(ARMS) == pytest.approx(
        [1.1597051824376163, 1.493941703508117, 1.1688251385694115]
    )
    assert policy.shares(ARMS) == (0.0, 1.0, 0.0)


def test_ucb_tries_untried_arms_first():
    assert UCB().shares(binary((0, 0), (5, 5), (0, 0))) == (0.5, 0.0, 0.5)


def test_ucb_explores_the_rarer_arm_the_more_the_larger_c():
    arms = binary((1_000, 520), (100, 50))

    assert UCB(c=0.01).shares(arms) == (1.0, 0.0)
    assert UCB(c=2.0).shares(arms) == (0.0, 1.0)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e6])
def test_ucb_does_not_depend_on_the_unit_of_measurement(factor):
    arms = continuous([factor * x for x in (1.0, 9.0) * 40], [factor * x for x in (2.0, 10.0) * 3])

    assert UCB(c=0.1).shares(arms) == (0.0, 1.0)
    assert UCB(c=2.0).shares(arms) == (0.0, 1.0)
    assert (
        UCB(c=0.001).shares(continuous([factor * 5.0] * 40, [factor * 4.0, factor * 4.1]))[0] == 1.0
    )


def test_ucb_counts_values_that_do_not_vary_as_they_are():
    assert UCB(c=2.0).shares(continuous([5.0] * 9, [5.0] * 3)) == (0.0, 1.0)


def test_epsilon_greedy_worked_by_hand():
    """Epsilon 0.3 over three arms, as `mabwiser` draws: 0.100, 0.801, 0.099 of 100,000."""
    assert EpsilonGreedy(epsilon=0.3).shares(ARMS) == pytest.approx((0.1, 0.8, 0.1))


@pytest.mark.parametrize(
    ("units", "expected"), [(0, 0.2), (5_000, 0.2), (10_000, 0.1), (100_000, 0.01)]
)
def test_epsilon_decays_as_one_over_t(units, expected):
    """500 K / t for two arms, at most epsilon."""
    assert EpsilonGreedy(epsilon=0.2, decay=True).exploration(units, 2) == pytest.approx(expected)


def test_epsilon_decays_sooner_with_fewer_units():
    policy = EpsilonGreedy(epsilon=0.2, decay=True, decay_units=50)

    assert policy.exploration(10_000, 2) == pytest.approx(0.01)


def test_epsilon_stays_without_decay():
    assert EpsilonGreedy(epsilon=0.2).exploration(10**9, 2) == 0.2


def test_epsilon_greedy_tries_untried_arms_first():
    assert EpsilonGreedy(epsilon=0.0).shares(binary((0, 0), (9, 9))) == (1.0, 0.0)


def test_bayesian_ab_keeps_the_declared_shares():
    arms = [Arm(9, 9.0, 0.0, is_binary=True, weight=w) for w in (0.7, 0.2, 0.1)]

    assert BayesianAB().shares(arms) == (0.7, 0.2, 0.1)


@st.composite
def arm_lists(draw):
    pairs = draw(
        st.lists(
            st.integers(0, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
            min_size=2,
            max_size=8,
        )
    )
    return binary(*pairs)


FEATURES = (Feature(name="age", type=FeatureType.NUMBER, minimum=0.0, maximum=1.0),)
EVERY_POLICY = [
    *(
        kind(features=FEATURES) if issubclass(kind, ContextualPolicy) else kind()
        for kind in POLICIES.values()
    ),
    *(UCB(variant=variant) for variant in UCBVariant),
]


@pytest.mark.parametrize("policy", EVERY_POLICY, ids=repr)
@given(arms=arm_lists(), random=st.randoms(use_true_random=False))
def test_shares_are_a_distribution_and_follow_their_arms(policy, arms, random):
    order = list(range(len(arms)))
    random.shuffle(order)

    shares = policy.shares(arms)

    assert min(shares) >= 0.0
    assert sum(shares) == pytest.approx(1.0)
    assert policy.shares([arms[index] for index in order]) == pytest.approx(
        [shares[index] for index in order], abs=1e-9
    )


@pytest.mark.parametrize(
    ("policy", "parameters"),
    [
        (ThompsonSampling, {"priorAlpha": 0}),
        (ThompsonSampling, {"priorBeta": -1}),
        (ThompsonSampling, {"priorAlpha": float("inf")}),
        (ThompsonSampling, {"minAllocation": 0.6}),
        (ThompsonSampling, {"initialAllocation": 0.6}),
        (ThompsonSampling, {"minAllocation": 0.02, "initialAllocation": 0.01}),
        (BayesianAB, {"initialAllocation": 0.01}),
        (TopTwoThompson, {"priorAlpha": 0}),
        (UCB, {"c": 0}),
        (UCB, {"c": float("nan")}),
        (UCB, {"priorAlpha": 1}),
        (UCB, {"variant": "ucb2"}),
        (UCB, {"variant": ["ucb1"]}),
        (UCB, {"variant": "ucb_tuned", "c": 1.0}),
        (EpsilonGreedy, {"epsilon": 1.1}),
        (EpsilonGreedy, {"epsilon": -0.1}),
        (EpsilonGreedy, {"decay": 1}),
        (EpsilonGreedy, {"decayUnits": 0}),
        (BayesianAB, {"earlyStoppingThreshold": 1.0}),
        (BayesianAB, {"earlyStoppingThreshold": 0.49}),
        (BayesianAB, {"priorBeta": 0}),
    ],
)
def test_parameters_outside_their_domain_are_refused(policy, parameters):
    with pytest.raises(ValidationError):
        policy.model_validate(parameters)
