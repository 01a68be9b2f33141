"""Array types shared by the statistics, and fast predicates of small arrays.

`array.all()` runs Python code of NumPy, which for ten numbers takes three times as long as counting
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def all_of(array: NDArray[Any]) -> bool:
    """Return whether all entries are nonzero."""
    return int(np.count_nonzero(array)) == array.size


def any_of(array: NDArray[Any]) -> bool:
    """Return whether any entry is nonzero."""
    return int(np.count_nonzero(array)) > 0
