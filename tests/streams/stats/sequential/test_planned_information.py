import math

import numpy as np
import pytest
from scipy.stats import norm

from streams.stats.sequential.planned_information import BEYOND, STEEP, crossed, level


def test_level_without_the_continuation_is_that_of_continuous_looks():
    """P(max of W over [0, 1] > c) = 2 (1 - Phi(c)); the continuation adds less than 5 % to that."""
    for c in (1.96, 2.28, 3.0):
        within = 2 * norm.sf(c)
        assert within <= crossed(c) <= 1.07 * within
    assert float(crossed(0.0)) == pytest.approx(1.0)


def test_bridge_of_units_that_convert_once_worked_by_hand():
    """c = 2.268 and p = 0.26: 0.01167 + exp(-2 x 5.144 x 0.1924) Phi(-2.268 x 0.48) = 0.0308."""
    continuation = float(crossed(2.268)) - 2 * norm.sf(2.268)

    assert float(crossed(2.268, 0.26)) - continuation == pytest.approx(0.0308, abs=2e-4)
    assert level(0.025, 0.26) > level(0.025, 0.1) > level(0.025)


@pytest.mark.parametrize("error", [0.5, 0.025, 1e-3, 1e-9, 1e-100])
def test_level_inverts_the_probability(error):
    assert float(crossed(level(error))) == pytest.approx(error, rel=1e-6)


@pytest.mark.statistical
def test_probability_is_that_of_simulated_motions():
    """Brownian motion, crossings between steps by the bridge; 40,000 paths to t = 1, then exact.

    Five standard errors of 40,000 paths: a false alarm has the probability 6e-7.
    """
    c, n_paths, n_steps = 1.5, 40_000, 50
    random = np.random.default_rng(4)
    step = 1.0 / n_steps
    place = np.zeros(n_paths)
    below = np.ones(n_paths)
    for _ in range(n_steps):
        after = place + random.normal(0.0, math.sqrt(step), n_paths)
        below *= -np.expm1(-2.0 * np.maximum(c - place, 0.0) * np.maximum(c - after, 0.0) / step)
        place = after
    wide, steep = BEYOND * c, STEEP * c
    below *= -np.expm1(-2.0 * wide * np.maximum(wide - place, 0.0))
    below *= -np.expm1(-2.0 * steep * np.maximum(c - place, 0.0))

    found = 1.0 - below
    # Both lines are crossed more often than by either alone: the claim bounds their sum.
    assert found.mean() - float(crossed(c)) < 5.0 * found.std() / math.sqrt(n_paths)
