"""Coordinates of posteriors of a positive mean: its logarithm."""

from __future__ import annotations

import numpy as np

from streams.stats.arrays import FloatArray


class LogCoordinates:
    """Logarithms as coordinates."""

    __slots__ = ()

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Return the means of these logarithms."""
        means: FloatArray = np.exp(coordinates)
        return means

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Return the logarithms of these means; minus infinity at and below 0."""
        with np.errstate(divide="ignore"):
            logs: FloatArray = np.log(np.maximum(values, 0.0))
        return logs
