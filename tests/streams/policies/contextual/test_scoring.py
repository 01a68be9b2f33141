from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.variant_weights import pack_weights
from streams.policies.base import Arm
from streams.policies.contextual.features import Feature, FeatureType
from streams.policies.contextual.lin_ts import LinTS
from streams.policies.contextual.lin_ucb import LinUCB
from streams.policies.contextual.model import LinearModel
from streams.policies.contextual.scoring import REMEMBERED, Scorer

FEATURES = (Feature(name="age", type=FeatureType.NUMBER, minimum=0.0, maximum=1.0),)


def model_of(coefficients, scale=0.01, noise=1.0, units=0):
    n_arms, dimension = np.shape(coefficients)
    covariance = np.broadcast_to(scale * np.eye(dimension), (n_arms, dimension, dimension))
    return LinearModel(np.array(coefficients, dtype=float), covariance.copy(), noise, units)


def policies(**parameters):
    return [kind(features=FEATURES, **parameters) for kind in (LinUCB, LinTS)]


@st.composite
def models(draw):
    n_arms = draw(st.integers(2, 12))
    numbers = st.floats(-3, 3)
    rows = draw(st.lists(st.tuples(numbers, numbers), min_size=n_arms, max_size=n_arms))
    return model_of(rows, draw(st.floats(1e-6, 1e3)), draw(st.floats(1e-3, 1e3)))


vectors = st.integers(-1024, 1024).map(lambda v: ((0, 1024), (1, v)) if v else ((0, 1024),))


@pytest.mark.parametrize("kind", [LinUCB, LinTS])
@given(models(), vectors, st.floats(0, 0.5))
def test_weights_sum_exactly_and_keep_the_floor(kind, model, vector, floor):
    n_arms = len(model.coefficients)
    policy = kind(features=FEATURES, min_allocation=floor)

    weights = Scorer(policy, model).weights(vector)

    assert sum(weights) == 65_536
    assert min(weights) >= int(min(floor, 1 / n_arms) * 65_536)


@pytest.mark.parametrize("policy", policies(), ids=repr)
@given(models(), vectors)
def test_weight_is_how_many_draws_choose_the_variant(policy, model, vector):
    """All 65,536 buckets: the propensity is the probability of the choice, exactly."""
    scorer = Scorer(policy, model)

    table = scorer.table(vector)
    chosen = Counter(table.choose(bucket << 48) for bucket in range(0, 65_536, 16))
    weights = scorer.weights(vector)

    assert table.propensities == tuple(weight << 16 for weight in weights)
    assert table.packed == pack_weights(weights)
    for variant, count in chosen.items():
        assert abs(16 * count - weights[variant]) <= 16


@pytest.mark.parametrize("policy", policies(), ids=repr)
def test_every_bucket_once_counts_to_the_weights(policy):
    scorer = Scorer(policy, model_of([(0.1, 0.0), (0.12, 0.0), (0.0, 0.2)]))
    vector = ((0, 1024), (1, 300))

    chosen = Counter(scorer.table(vector).choose(bucket << 48) for bucket in range(65_536))

    assert chosen == dict(enumerate(scorer.weights(vector)))


def test_context_decides():
    """The first variant earns 0.5 + x, the second 0.5 - x."""
    model = model_of([(0.5, 1.0), (0.5, -1.0)], scale=1e-4)

    for policy in policies(min_allocation=0.1):
        scorer = Scorer(policy, model)
        assert scorer.weights(((0, 1024), (1, 1024))) == (58_982, 6_554)
        assert scorer.weights(((0, 1024), (1, -1024))) == (6_554, 58_982)
        assert scorer.weights(((0, 1024),)) == (32_768, 32_768)


def test_alpha_moves_lin_ucb_to_the_less_known():
    covariance = np.array([[[0.01]], [[1.0]]])
    model = LinearModel(np.array([[0.5], [0.4]]), covariance, noise=1.0, units=10)

    for alpha, expected in ((0.01, (65_536, 0)), (1.0, (0, 65_536))):
        policy = LinUCB(features=FEATURES, alpha=alpha, min_allocation=0.0)
        assert Scorer(policy, model).weights(((0, 1024),)) == expected


@given(models(), vectors)
def test_lin_ts_does_not_depend_on_the_unit_of_measurement(model, vector):
    scaled = LinearModel(4.0 * model.coefficients, model.covariance, 4.0 * model.noise, model.units)
    policy = LinTS(features=FEATURES)

    assert Scorer(policy, scaled).weights(vector) == Scorer(policy, model).weights(vector)


def test_falling_floor_falls_with_the_units_of_the_model():
    policy = LinUCB(features=FEATURES, min_allocation=0.001, initial_allocation=0.01)
    coefficients = [(1.0, 0.0), (0.0, 0.0)]

    early = Scorer(policy, model_of(coefficients, units=0)).weights(((0, 1024),))
    late = Scorer(policy, model_of(coefficients, units=10**9)).weights(((0, 1024),))

    assert (early[1], late[1]) == (655, 66)


def test_contexts_that_never_come_again_do_not_pile_up():
    scorer = Scorer(policies()[0], model_of([(0.5, 1.0), (0.5, -1.0)]))

    for value in range(1, REMEMBERED + 50):
        scorer.table(((0, 1024), (1, value)))

    assert 0 < len(scorer._known) <= REMEMBERED


def test_without_a_context_a_contextual_policy_splits_evenly():
    arms = [Arm(10, float(total), 0.0, is_binary=True, weight=0.5) for total in (1, 9)]

    assert [policy.shares(arms) for policy in policies()] == [(0.5, 0.5)] * 2
