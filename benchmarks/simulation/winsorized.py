"""Amounts capped at a percentile of all that came, in thousands of experiments at once.

What `streams.analysis.winsorized` does with the bins of one experiment, in arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray
from streams.tallies.bins import WINSORIZED_PRECISION, end_of

_PER_OCTAVE = 1 << WINSORIZED_PRECISION
_N_BINS = 50 * _PER_OCTAVE  # up to amounts of a thousand million
_ENDS = np.array([end_of(number + 1, WINSORIZED_PRECISION) / MICRO for number in range(_N_BINS)])


class Winsorized:
    """Sums of amounts by bin, and what they come to below the cap.

    Args:
        shape: Repetitions and variants.
        percentile: Percentile of the amounts at which they are capped.

    Attributes:
        cap: The cap; shape (repetitions,); infinite before the first amount.
    """

    def __init__(self, shape: tuple[int, int], percentile: float) -> None:
        self.cap = np.full(shape[0], np.inf)
        self._percentile = percentile
        self._sums = np.zeros((4, *shape, _N_BINS))  # units, amounts, their squares and cubes
        self._known = np.zeros((3, *shape))

    def add(self, variant: int, place: NDArray[np.int64], values: FloatArray) -> None:
        """Add amounts > 0 of a variant; `place` is the repetition of each."""
        mantissa, exponent = np.frexp(values * MICRO)
        part = np.floor((2.0 * mantissa - 1.0) * _PER_OCTAVE).astype(np.int64)
        number = np.clip((exponent - 1) * _PER_OCTAVE + part, 0, _N_BINS - 1)
        index, n_cells = place * _N_BINS + number, self._sums[0, :, 0].size
        for power in range(4):
            found = np.bincount(index, values**power, n_cells)
            self._sums[power, :, variant] += found.reshape(-1, _N_BINS)

    def change(self) -> FloatArray:
        """Return by how much the sums of the capped amounts, their squares and cubes changed."""
        seen = np.cumsum(self._sums[0].sum(axis=1), axis=1)
        last = (seen < self._percentile * seen[:, -1:]).sum(axis=1)
        self.cap = np.where(seen[:, -1] > 0.0, _ENDS[np.minimum(last, _N_BINS - 1)], np.inf)
        is_above = (np.arange(_N_BINS) > last[:, None])[:, None]
        units, *kept = (
            np.where(is_above if power == 0 else ~is_above, each, 0.0).sum(axis=2)
            for power, each in enumerate(self._sums)
        )
        cap = np.where(np.isfinite(self.cap), self.cap, 0.0)[:, None]
        sums = np.array([each + units * cap ** (n + 1) for n, each in enumerate(kept)])
        changed = sums - self._known
        self._known = sums
        return np.asarray(changed)
