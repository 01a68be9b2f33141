import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.multiplicity import Tried, holm, holm_by_column

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


@given(st.integers(1, 15), st.integers(0, 15))
def test_errors_of_variants_one_after_the_other_have_a_sum(at_start, added):
    """Each comparison may use up its error before the next variant comes, in the worst case."""
    shares = [Tried(at_start, at_start + n).share / (at_start + n) for n in range(added + 1)]
    error = at_start * shares[0] + sum(shares[1:])

    assert shares[0] == 1.0 / at_start
    assert shares == sorted(shares, reverse=True)
    assert error < (math.pi**2 / 6.0 if at_start == 1 else 2.0)


def test_a_variant_that_is_added_has_a_quarter_of_the_error_and_not_half():
    """Worked: the first variant had all of it, the second one has 1 / 4, the third one 1 / 9."""
    found = [holm([0.01], among=k, share=Tried(1, k).share).tolist() for k in (1, 2, 3)]

    assert found == [[0.01], [pytest.approx(0.04)], [pytest.approx(0.09)]]


@given(probabilities, st.integers(0, 12))
def test_comparisons_that_are_over_count_as_not_rejected(p_values, over):
    found = holm(p_values, among=len(p_values) + over)

    assert found.tolist() == holm([*p_values, *[1.0] * over])[: len(p_values)].tolist()


def test_metrics_are_corrected_for_the_variants_that_each_had():
    """Worked: two metrics of one variant that is left of two make four comparisons."""
    assert holm_by_column([[0.01], [0.02]], Tried(2, 2)) == [[0.04], [0.06]]


@pytest.mark.parametrize("counts", [(0, 1), (2, 1)])
def test_fewer_variants_than_at_the_start_are_refused(counts):
    with pytest.raises(InvalidParameterError):
        Tried(*counts)
