"""The policies that `mabwiser` has too give what it gives, from the same data."""

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy

from streams.model.quantities import MICRO
from streams.model.vectors import FEATURE_ONE
from streams.policies.base import Arm
from streams.policies.contextual.features import Feature, FeatureType
from streams.policies.contextual.lin_ucb import LinUCB
from streams.policies.contextual.model import LinearModel
from streams.policies.contextual.scoring import Scorer
from streams.policies.thompson_sampling import ThompsonSampling
from streams.policies.ucb import UCB
from streams.tallies.linear import LinearSums

N_ARMS = 3
DRAWS = 100_000
_GENERATOR = np.random.default_rng(11)
CONTEXTS = _GENERATOR.integers(-8, 9, (60, 4)) / 8  # multiples of 1/8, which the encoding keeps
CONTEXTS[:, 0] = 1.0
ARMS = _GENERATOR.integers(0, N_ARMS, 60)
CLICKS = _GENERATOR.integers(0, 2, 60)
QUESTIONS = np.array([[1, 0.5, -0.25, 0], [1, -1, 1, 0.125]])
FEATURES = tuple(
    Feature(name=name, type=FeatureType.NUMBER, minimum=-1.0, maximum=1.0) for name in "abc"
)


def arms():
    return [
        Arm(n, float(clicks), 0.0, is_binary=True, weight=1 / N_ARMS)
        for n, clicks in zip(
            np.bincount(ARMS).tolist(), np.bincount(ARMS, weights=CLICKS).tolist(), strict=True
        )
    ]


def vector_of(context):
    return tuple((i, round(value * FEATURE_ONE)) for i, value in enumerate(context) if value)


def model_of(ridge):
    sums = [LinearSums() for _ in range(N_ARMS)]
    for context, arm, click in zip(CONTEXTS, ARMS.tolist(), CLICKS.tolist(), strict=True):
        sums[arm].add_unit(vector_of(context))
        sums[arm].add_value(vector_of(context), click * MICRO)
    tallies = [entry.freeze() for entry in sums]
    return LinearModel.fit(tallies, CONTEXTS.shape[1], noise=1.0, units=60, ridge=ridge)


def bandit(policy, *contexts):
    fitted = MAB(list(range(N_ARMS)), policy, seed=1)
    fitted.fit(ARMS, CLICKS, *contexts)
    return fitted


def test_ucb1_bounds():
    """Its alpha counts in UCB1's own width: c = alpha sqrt(2)."""
    expected = bandit(LearningPolicy.UCB1(alpha=1.25)).predict_expectations()

    assert UCB(c=1.25 * 2**0.5).bounds(arms()) == pytest.approx(list(expected.values()))


def test_thompson_shares():
    """100,000 of its draws; 0.008 is over five standard errors, so a false alarm is below 1e-6."""
    other = bandit(LearningPolicy.ThompsonSampling())
    counts = np.bincount([other.predict() for _ in range(DRAWS)], minlength=N_ARMS)

    assert ThompsonSampling().shares(arms()) == pytest.approx(counts / DRAWS, abs=0.008)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("ridge", [0.1, 2.0])
def test_lin_ucb_bounds(alpha, ridge):
    """It inverts with LAPACK, this with a separate factorization: equal to nine digits."""
    other = bandit(LearningPolicy.LinUCB(alpha=alpha, l2_lambda=ridge), CONTEXTS)
    model = model_of(ridge)

    for question, expected in zip(QUESTIONS, other.predict_expectations(QUESTIONS), strict=True):
        means, deviations = model.estimates(vector_of(question))
        assert means + alpha * deviations == pytest.approx(list(expected.values()), rel=1e-9)
        policy = LinUCB(features=FEATURES, alpha=alpha, ridge=ridge, min_allocation=0.0)
        best = max(expected, key=expected.get)
        assert Scorer(policy, model).weights(vector_of(question))[best] == 65_536


def test_lin_ts_draws():
    """Means and deviations of 100,000 of its draws, to five standard errors: below 1e-5 by chance.

    Its arms share their random numbers, too: correlations are 0.88 and more.
    """
    other = bandit(LearningPolicy.LinTS(alpha=0.5, l2_lambda=2.0), CONTEXTS)
    model = model_of(2.0)

    for question in QUESTIONS:
        answers = other.predict_expectations(np.repeat(question[None], DRAWS, axis=0))
        drawn = np.array([list(answer.values()) for answer in answers])
        means, deviations = model.estimates(vector_of(question))
        assert drawn.mean(axis=0) == pytest.approx(means, abs=5 * 0.5 / DRAWS**0.5)
        assert drawn.std(axis=0) == pytest.approx(0.5 * deviations, rel=5 / (2 * DRAWS) ** 0.5)
        assert np.corrcoef(drawn.T).min() > 0.85
