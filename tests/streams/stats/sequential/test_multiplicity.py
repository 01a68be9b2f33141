import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.multiplicity import holm

probabilities = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def holm_by_hand(p_values, alpha):
    """Step down: reject the smallest while it is at most alpha over the number that is left."""
    rejected = set()
    for left, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - left):
            break
        rejected.add(index)
    return rejected


@given(probabilities, st.floats(0.001, 0.999))
def test_holm_rejects_what_stepping_down_rejects(p_values, alpha):
    adjusted = holm(p_values)
    near = [abs(value - alpha) < 1e-12 for value in adjusted]

    assert {i for i, value in enumerate(adjusted) if value <= alpha and not near[i]} == {
        i for i in holm_by_hand(p_values, alpha) if not near[i]
    }


@given(probabilities, st.randoms())
def test_holm_does_not_depend_on_the_order(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)

    assert holm([p_values[i] for i in order]).tolist() == [holm(p_values)[i] for i in order]


@given(probabilities)
def test_holm_lies_between_the_p_value_and_bonferroni(p_values):
    values, adjusted = np.array(p_values), holm(p_values)

    assert np.all(values <= adjusted)
    assert np.all(adjusted <= np.minimum(1.0, values * len(values)) + 1e-15)


@pytest.mark.parametrize("p_values", [[-0.1], [1.1], [math.nan]])
def test_p_values_outside_their_domain_are_refused(p_values):
    with pytest.raises(InvalidParameterError):
        holm(p_values)
