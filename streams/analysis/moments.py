"""Moments of the values of the units of variants, without weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray, any_of
from streams.stats.sample import Sample, cubed_deviations, squared_deviations
from streams.tallies.cell import MetricTally


def variance_of(tallies: Sequence[MetricTally], units: FloatArray) -> FloatArray:
    """Return the variance of the values."""
    seen = np.maximum(units, 1.0)
    mean = np.array([tally.total / MICRO for tally in tallies]) / seen
    square = np.array([tally.total_squared / MICRO**2 for tally in tallies]) / seen
    variance: FloatArray = np.maximum(square - mean * mean, 0.0)
    return variance


def moments_of(tallies: Sequence[MetricTally], samples: Sequence[Sample]) -> FloatArray:
    """Return variances, then third central moments, of the values; shape (2, n_variants).

    For a variant with constant values they are the pooled ones.
    """
    columns = [
        (round(sample.units), tally.total, tally.total_squared, tally.total_cubed)
        for sample, tally in zip(samples, tallies, strict=True)
    ]
    found = np.array([_central(column) for column in columns])
    is_equal = found[:, 0] <= 0.0
    if any_of(is_equal):
        found[is_equal] = _central([sum(column) for column in zip(*columns, strict=True)])
    moments: FloatArray = found.T
    return moments


def _central(sums: Sequence[int]) -> tuple[float, float]:
    """Return variance and third central moment of values, given their number and power sums."""
    units, total, squared, cubed = sums
    if not units:
        return 0.0, 0.0
    return (
        squared_deviations(units, total, squared) / units,
        cubed_deviations(units, total, squared, cubed) / units,
    )
