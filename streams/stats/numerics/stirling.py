"""Correction of Stirling's formula for log Gamma, for densities of large counts."""

from __future__ import annotations

import numpy as np
from scipy import special

from streams.stats.arrays import FloatArray, all_of

_SERIES_FROM = 16.0  # the first term left out of the series is below 1e-15 from here on


def stirling_correction(z: FloatArray) -> FloatArray:
    """Return log Gamma(z) minus Stirling's formula, to 1e-15.

    Source: NIST DLMF 5.11.1.
    """
    is_large = z >= _SERIES_FROM
    if all_of(is_large):
        return _series(z)
    small = np.minimum(z, _SERIES_FROM)
    direct = special.gammaln(small) - (
        (small - 0.5) * np.log(small) - small + 0.5 * np.log(2.0 * np.pi)
    )
    correction: FloatArray = np.where(is_large, _series(np.maximum(z, _SERIES_FROM)), direct)
    return correction


def _series(large: FloatArray) -> FloatArray:
    inverse_square = 1.0 / (large * large)
    return (
        1 / 12
        - inverse_square
        * (
            1 / 360
            - inverse_square * (1 / 1260 - inverse_square * (1 / 1680 - inverse_square / 1188))
        )
    ) / large
