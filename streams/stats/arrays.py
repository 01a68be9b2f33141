"""Array types shared by the statistics, and what is asked of arrays of a few numbers.

`array.all()` goes through Python code of NumPy, which for the ten numbers of an experiment costs
three times what it takes to count them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def all_of(array: NDArray[Any]) -> bool:
    """Return whether all entries are true, or not 0."""
    return int(np.count_nonzero(array)) == array.size


def any_of(array: NDArray[Any]) -> bool:
    """Return whether any entry is true, or not 0."""
    return int(np.count_nonzero(array)) > 0
