import numpy as np
import pytest

from streams.stats.arrays import all_of, any_of


@pytest.mark.parametrize(
    "array",
    [
        np.array([], np.bool_),
        np.array([True, True]),
        np.array([True, False]),
        np.array([[False, False], [False, True]]),
        np.array([0.0, -0.0]),
        np.array([0.0, np.nan]),
        np.array([1.0, np.inf]),
        np.bool_(True),
        np.bool_(False),
        np.ones((3, 4), np.bool_)[:, ::2],
    ],
)
def test_entries_are_counted_as_numpy_says(array):
    assert all_of(array) is bool(np.all(array))
    assert any_of(array) is bool(np.any(array))
