import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.power import crossing_probability, needed_drift


def test_without_drift_it_is_the_reflection_principle():
    assert float(crossing_probability(2.0, 0.0, 4.0)) == pytest.approx(2 * norm.sf(1.0))


def test_a_distance_that_is_covered_is_certain_and_no_time_covers_no_distance():
    assert crossing_probability(np.array([0.0, -1.0, 1.0]), -9.0, 0.0).tolist() == [1.0, 1.0, 0.0]


@given(st.floats(0.1, 5.0), st.floats(0.01, 3.0), st.floats(0.05, 0.95))
def test_needed_drift_has_the_power(distance, duration, power):
    drift = needed_drift(distance, duration, power)

    found = float(crossing_probability(distance, drift, duration))
    assert found == pytest.approx(power, abs=1e-6) or (drift == 0.0 and found >= power)


def test_an_uphill_drift_far_away_is_a_number():
    assert float(crossing_probability(1e6, 1e6, 10.0)) == 1.0
    assert float(crossing_probability(1e6, -1e6, 10.0)) == 0.0


@pytest.mark.parametrize("arguments", [(0.0, 1.0, 0.8), (1.0, math.inf, 0.8), (1.0, 1.0, 1.0)])
def test_arguments_outside_their_domain_are_refused(arguments):
    with pytest.raises(InvalidParameterError):
        needed_drift(*arguments)
