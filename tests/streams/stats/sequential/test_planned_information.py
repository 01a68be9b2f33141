import math

import numpy as np
import pytest
from scipy.stats import norm

from streams.stats.sequential.planned_information import BEYOND, crossed, level


def test_level_without_the_continuation_is_that_of_continuous_looks():
    """P(max of W over [0, 1] > c) = 2 (1 - Phi(c)); the continuation adds less than 7 % to that."""
    for c in (1.96, 2.28, 3.0):
        within = 2 * norm.sf(c)
        assert within <= crossed(c) <= 1.07 * within
    assert float(crossed(0.0)) == pytest.approx(1.0)


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
    slope = BEYOND * c
    below *= -np.expm1(-2.0 * slope * np.maximum(slope - place, 0.0))

    found = 1.0 - below
    assert abs(found.mean() - float(crossed(c))) < 5.0 * found.std() / math.sqrt(n_paths)
