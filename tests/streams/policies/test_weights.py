import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.policies.base import Arm
from streams.policies.bayesian_ab import BayesianAB
from streams.policies.contextual.features import Feature, FeatureType
from streams.policies.contextual.lin_ts import LinTS
from streams.policies.contextual.lin_ucb import LinUCB
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.ucb import UCB
from streams.policies.weights import (
    allocate,
    final_floor,
    floor,
    integer_weights,
    smallest_weight,
    with_floor,
)


@st.composite
def simplex(draw):
    raw = draw(st.lists(st.floats(0, 1), min_size=2, max_size=256).filter(lambda xs: sum(xs) > 0))
    return tuple(value / sum(raw) for value in raw)


def arms(*pairs, weights=None):
    return [
        Arm(units, float(successes), 0.0, is_binary=True, weight=weight)
        for (units, successes), weight in zip(
            pairs, weights or [1 / len(pairs)] * len(pairs), strict=True
        )
    ]


def test_floor_worked_by_hand():
    """f = 0.1 of three arms leaves 0.7 to the policy."""
    assert with_floor((0.5, 0.5, 0.0), 0.1) == pytest.approx((0.45, 0.45, 0.1))


@given(simplex(), st.floats(0, 1))
def test_floor_is_a_mixture_on_the_simplex(shares, fraction):
    least = fraction / len(shares)

    floored = with_floor(shares, least)

    assert sum(floored) == pytest.approx(1.0)
    assert min(floored) >= least - 1e-12
    for share, after in zip(shares, floored, strict=True):
        assert after - least == pytest.approx((1 - len(shares) * least) * share, abs=1e-12)


@given(simplex())
def test_zero_floor_is_the_pure_policy(shares):
    assert with_floor(shares, 0.0) == shares


def test_largest_floor_is_the_equal_split():
    assert with_floor((1.0, 0.0, 0.0), 1 / 3) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("shares", "least"),
    [
        ((0.5, 0.5), 0.6),
        ((0.5, 0.5), -0.1),
        ((0.5, 0.6), 0.1),
        ((1.5, -0.5), 0.1),
        ((float("nan"), 1.0), 0.0),
    ],
)
def test_floor_or_shares_outside_their_domain_are_refused(shares, least):
    with pytest.raises(InvalidParameterError):
        with_floor(shares, least)


def test_largest_remainders_get_what_is_left():
    """65,536 x (0.4, 0.35, 0.25) = 26,214.4, 22,937.6, 16,384."""
    assert integer_weights((0.4, 0.35, 0.25)) == (26_214, 22_938, 16_384)


def test_minimum_is_taken_from_the_largest():
    assert integer_weights((1.0, 0.0, 0.0), 3) == (65_530, 3, 3)


@given(simplex(), st.integers(0, 256))
def test_integer_weights_sum_exactly_and_are_within_one_of_the_share(shares, minimum):
    weights = integer_weights(shares, minimum)

    assert sum(weights) == 65_536
    assert min(weights) >= minimum
    if minimum == 0:
        for weight, share in zip(weights, shares, strict=True):
            assert abs(weight - share * 65_536) < 1.01


@given(simplex(), st.randoms(use_true_random=False))
def test_order_changes_weights_by_ties_alone(shares, random):
    order = list(range(len(shares)))
    random.shuffle(order)

    weights = integer_weights(shares)
    shuffled = integer_weights([shares[index] for index in order])

    for place, index in enumerate(order):
        assert abs(shuffled[place] - weights[index]) <= 1


def test_ties_go_to_the_earlier_arm_in_spite_of_last_bits():
    third = 1 / 3

    assert integer_weights((third - 1e-15, third, third + 1e-15)) == (21_846, 21_845, 21_845)


@pytest.mark.parametrize(
    ("shares", "minimum"),
    [((0.0, 0.0), 0), ((-0.5, 1.5), 0), ((0.5, 0.5), -1), ((0.5, 0.5), 32_769)],
)
def test_shares_or_minimum_outside_their_domain_are_refused(shares, minimum):
    with pytest.raises(InvalidParameterError):
        integer_weights(shares, minimum)


@pytest.mark.parametrize(
    ("policy", "n_arms", "expected"),
    [
        (ThompsonSampling(), 2, 0.01),
        (ThompsonSampling(), 100, 0.001),
        (ThompsonSampling(min_allocation=0.2), 2, 0.2),
        (ThompsonSampling(min_allocation=0.0), 2, 0.0),
        (BayesianAB(), 2, 0.0),
        (BayesianAB(min_allocation=0.25), 2, 0.25),
    ],
)
def test_floor_of_a_policy(policy, n_arms, expected):
    assert floor(policy, n_arms, 0) == floor(policy, n_arms, 10**12) == expected


FEATURES = (Feature(name="age", type=FeatureType.NUMBER, minimum=0.0, maximum=1.0),)


@pytest.mark.parametrize("kind", [LinTS, LinUCB])
@pytest.mark.parametrize(
    ("floors", "expected"),
    [
        ({}, (0.01, 0.005, 0.001)),
        ({"min_allocation": 0.02}, (0.02, 0.02, 0.02)),
        ({"min_allocation": 0.0}, (0.0, 0.0, 0.0)),
        ({"initial_allocation": 0.1}, (0.1, 0.05, 0.001)),
        ({"initial_allocation": 0.0005}, (0.0005, 0.0005, 0.0005)),
        ({"initial_allocation": 0.1, "min_allocation": 0.04}, (0.1, 0.05, 0.04)),
    ],
)
def test_default_floor_of_a_contextual_policy_falls_to_a_tenth(kind, floors, expected):
    """Ten arms: held for 100 units, then with their square root."""
    policy = kind(features=FEATURES, **floors)

    found = [floor(policy, 10, units) for units in (100, 400, 10**9)]

    assert found == pytest.approx(expected)
    assert final_floor(policy, 10) == pytest.approx(expected[-1])


def test_bound_of_a_falling_default_is_known_before_the_first_unit():
    policy = LinTS(features=FEATURES)

    weights = [
        integer_weights(with_floor((1.0, 0.0), floor(policy, 2, n)), 1)[1]
        for n in range(0, 10**6, 999)
    ]

    assert min(weights) >= smallest_weight(policy, 2) == 65


def test_stated_beginning_below_the_default_is_the_floor():
    assert floor(ThompsonSampling(initial_allocation=0.002), 2, 10**9) == 0.002


def test_falling_floor_worked_by_hand():
    """f = 0.01 for 100 units of each of ten arms, then f sqrt(1,000 / t), and never below 0.001."""
    policy = ThompsonSampling(min_allocation=0.001, initial_allocation=0.01)

    floors = [floor(policy, 10, units) for units in (0, 1_000, 4_000, 100_000, 10**9)]

    assert floors == pytest.approx([0.01, 0.01, 0.005, 0.001, 0.001])


FALLING = st.tuples(st.floats(0, 0.5), st.floats(0, 1)).map(
    lambda pair: ThompsonSampling(min_allocation=pair[0] * pair[1], initial_allocation=pair[0])
)


@given(FALLING, st.integers(2, 256), st.integers(0, 10**12), st.integers(0, 10**12))
def test_falling_floor_falls_to_the_final_one(policy, n_arms, units, more):
    early, late = floor(policy, n_arms, units), floor(policy, n_arms, units + more)

    assert 1 / n_arms >= early >= late >= final_floor(policy, n_arms)


@given(FALLING, st.lists(st.integers(0, 10**7), min_size=2, max_size=20))
def test_integer_weights_keep_a_falling_floor_and_their_sum(policy, units):
    """UCB puts all on one arm, so that the others have the floor and nothing else."""
    floors = policy.model_dump(include={"min_allocation", "initial_allocation"})
    ucb = UCB(**floors)
    sample = arms(*((n, n // (index + 2)) for index, n in enumerate(units)))

    weights = allocate(ucb, sample)

    assert sum(weights) == 65_536
    assert min(weights) >= int(65_536 * floor(ucb, len(units), sum(units)))
    assert all(weight == 0 or weight >= smallest_weight(ucb, len(units)) for weight in weights)


def test_constant_floor_is_a_falling_one_that_ends_where_it_begins():
    sample = arms((10_000, 9_000), (10_000, 10))

    falling = ThompsonSampling(min_allocation=0.02, initial_allocation=0.02)

    assert allocate(falling, sample) == allocate(ThompsonSampling(min_allocation=0.02), sample)


def test_hopeless_arm_keeps_the_floor():
    weights = allocate(ThompsonSampling(), arms((10_000, 9_000), (10_000, 10)))

    assert weights == (64_881, 655)
    assert smallest_weight(ThompsonSampling(), 2) == 655


def test_without_a_floor_a_hopeless_arm_gets_nothing():
    assert allocate(UCB(min_allocation=0.0, c=0.1), arms((10**6, 900_000), (10**6, 10))) == (
        65_536,
        0,
    )


def test_tiny_floor_is_a_weight_of_one():
    assert allocate(UCB(min_allocation=1e-9), arms((10**9, 10**9), (10**9, 10)))[1] == 1


def test_fixed_weights_are_the_declared_ones():
    policy = BayesianAB()

    assert allocate(policy, arms((0, 0), (9, 9), weights=(0.9, 0.1))) == (58_982, 6_554)
    assert allocate(policy, arms((0, 0), (9, 9), weights=(1 - 1e-9, 1e-9))) == (65_535, 1)


@pytest.mark.parametrize("n_arms", [2, 3, 7, 80, 256])
def test_draft_splits_equally(n_arms):
    for policy in (ThompsonSampling(), UCB(), BayesianAB()):
        weights = allocate(policy, arms(*[(0, 0)] * n_arms))

        assert sum(weights) == 65_536
        assert max(weights) - min(weights) <= 1
