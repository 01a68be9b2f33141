"""Power of a boundary that is looked at all the time: crossings of a Brownian motion with drift."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.numerics.brent import brent_root

_LARGEST_DRIFT = 1e9


def crossing_probability(
    distance: FloatArray | float, drift: FloatArray | float, duration: FloatArray | float
) -> FloatArray:
    """Return the probability that a Brownian motion rises by a distance within a duration.

    Args:
        distance: How far it has to rise; 0 or less is certain. All arguments broadcast.
        drift: Its drift.
        duration: Its duration, >= 0.

    Source: Siegmund (1985), "Sequential analysis", equation 3.15.

    Examples:
        >>> float(crossing_probability(2.28, 3.24, 1.0).round(3))
        0.876
    """
    far, time = np.asarray(distance, np.float64), np.asarray(duration, np.float64)
    found = _risen(far, drift, time, np.sqrt(np.where(time > 0.0, time, 1.0)))
    return np.where(far <= 0.0, 1.0, np.where(time > 0.0, found, 0.0))


def _risen(
    far: FloatArray | float,
    slope: FloatArray | float,
    time: FloatArray | float,
    root: FloatArray | float,
) -> FloatArray:
    """Return `crossing_probability` for a distance and a duration > 0; `root` is sqrt(duration)."""
    reflected = 2.0 * slope * far + special.log_ndtr((-far - slope * time) / root)
    found: FloatArray = special.ndtr((slope * time - far) / root) + np.exp(
        np.minimum(reflected, 0.0)
    )
    return np.minimum(found, 1.0)


def needed_drift(distance: float, duration: float, power: float) -> float:
    """Return the drift with which a motion rises by a distance within a duration.

    Args:
        distance: > 0.
        duration: > 0.
        power: Probability that it does, in (0, 1).

    Returns:
        The drift; 0 if it does without any.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    for name, value in (("distance", distance), ("duration", duration)):
        if not 0.0 < value < np.inf:
            raise InvalidParameterError(name, value, "finite and > 0")
    if not 0.0 < power < 1.0:
        raise InvalidParameterError("power", power, "in (0, 1)")

    root = math.sqrt(duration)

    def lacking(drift: float) -> float:
        return float(_risen(distance, drift, duration, root)) - power

    if lacking(0.0) >= 0.0:
        return 0.0
    largest = 1.0
    while lacking(largest) < 0.0 and largest < _LARGEST_DRIFT:
        largest *= 4.0
    if lacking(largest) < 0.0:
        return np.inf
    return brent_root(lacking, 0.0, largest, 1e-9)
