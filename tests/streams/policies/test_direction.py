import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.policies.base import Arm
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.registry import POLICIES
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.ucb import UCB, UCBVariant
from streams.policies.weights import allocate

# Of a contextual one the model is mirrored, and not what it says of all requests together.
PLAIN = [kind() for kind in POLICIES.values() if not issubclass(kind, ContextualPolicy)]


@st.composite
def arm_lists(draw):
    is_binary = draw(st.booleans())
    arms = []
    for _ in range(draw(st.integers(2, 6))):
        units = draw(st.integers(0, 10**6))
        if is_binary:
            total, spread = float(draw(st.integers(0, units))), 0.0
        else:
            total, spread = units * draw(st.floats(-1e3, 1e3)), units * draw(st.floats(0, 1e6))
        arms.append(Arm(units, total, spread, is_binary, 0.0))
    return [Arm(a.units, a.total, a.squared_deviations, is_binary, 1 / len(arms)) for a in arms]


@given(arm_lists())
def test_mirroring_twice_is_the_identity(arms):
    assert [arm.mirrored().mirrored() for arm in arms] == arms
    for policy in PLAIN:
        assert policy.mirrored().mirrored() == policy


@pytest.mark.parametrize("policy", PLAIN, ids=lambda policy: policy.type)
def test_mirrored_policy_sends_traffic_to_the_smaller_mean(policy):
    falling = [
        Arm(1_000, 100.0, 0.0, is_binary=True, weight=0.5),
        Arm(1_000, 200.0, 0.0, is_binary=True, weight=0.5),
    ]

    up, down = (
        allocate(policy, falling),
        allocate(policy.mirrored(), [arm.mirrored() for arm in falling]),
    )

    assert up[0] <= down[0]
    assert up == down[::-1] or not policy.adaptive


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.1, 50), st.floats(0.1, 50))
def test_exchanging_zero_and_one_in_data_and_direction_changes_nothing(first, second, alpha, beta):
    """Counting failures to be minimized is equivalent to counting successes."""
    successes = [Arm(300, float(n), 0.0, is_binary=True, weight=0.5) for n in (first, second)]
    failures = [Arm(300, 300.0 - n, 0.0, is_binary=True, weight=0.5) for n in (first, second)]
    counted = ThompsonSampling(prior_alpha=alpha, prior_beta=beta)
    swapped = ThompsonSampling(prior_alpha=beta, prior_beta=alpha)

    assert counted.shares(successes) == swapped.mirrored().shares(
        [arm.mirrored() for arm in failures]
    )


@pytest.mark.parametrize("variant", list(UCBVariant))
def test_bounds_of_mirrored_values_are_the_lower_bounds_turned_over(variant):
    """Of values that are not binary: the reach depends on the spread, which mirroring keeps."""
    arms = [Arm(50, 100.0, 200.0, False, 0.5), Arm(40, -60.0, 90.0, False, 0.5)]
    policy = UCB(variant=variant)

    mirrored = policy.bounds([arm.mirrored() for arm in arms])

    for arm, up, down in zip(arms, policy.bounds(arms), mirrored, strict=True):
        mean = arm.total / arm.units
        assert up - mean == pytest.approx(down + mean)
