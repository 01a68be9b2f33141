import numpy as np
import pytest

from benchmarks.simulation.contextual import NUMBERS, Production, lost, ratio
from streams.model.quantities import MICRO
from streams.policies.contextual.lin_ts import LinTS
from streams.policies.contextual.model import LinearModel
from streams.tallies.linear import LinearSums

POLICY = LinTS(features=NUMBERS.features, min_allocation=0.0)


def test_the_model_is_that_of_units_added_one_by_one():
    random = np.random.default_rng(1)
    contexts = random.integers(-1024, 1025, (50, 6))
    contexts[:, 0] = 1024
    chosen, clicks = random.integers(0, 2, 50), random.integers(0, 2, 50)
    chooser = Production(POLICY, 2)

    chooser.learn(contexts[:30], chosen[:30], clicks[:30])
    chooser.learn(contexts[30:], chosen[30:], clicks[30:])

    sums = [LinearSums(), LinearSums()]
    for row, arm, click in zip(contexts.tolist(), chosen.tolist(), clicks.tolist(), strict=True):
        vector = tuple((place, value) for place, value in enumerate(row) if value)
        sums[arm].add_unit(vector)
        sums[arm].add_value(vector, click * MICRO)
    tallies = [each.freeze() for each in sums]
    found = chooser._model()
    expected = LinearModel.fit(tallies, 6, noise=found.noise, units=50)
    assert found.units == 50
    assert found.coefficients.tolist() == expected.coefficients.tolist()
    assert found.covariance.tolist() == expected.covariance.tolist()


def test_an_environment_is_the_same_again_and_learning_loses_less_than_an_even_split():
    class Even:
        def choose(self, contexts, random):
            return random.integers(10, size=len(contexts))

        def learn(self, contexts, chosen, clicks):
            pass

    learned = [lost(NUMBERS, 3, Production(POLICY, 10), 2_000, 200, 1) for _ in range(2)]

    assert learned[0] == learned[1]
    assert learned[0] < 0.7 * lost(NUMBERS, 3, Even(), 2_000, 200, 1)


def test_ratio_worked_by_hand():
    """Residuals of 6/4 over (2, 6) are 0 and -3 + 3 of the other."""
    found, error = ratio([3.0, 9.0], [2.0, 6.0])

    assert found == 1.5
    assert error == pytest.approx(0.0)
