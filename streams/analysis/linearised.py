"""Linearised values of a ratio, summed with the weights of every pair of variants.

A unit has the value (x - R y) / (mean of y), times a common scale: alpha x + beta y. Ratio and mean
are those of its variant by the weights of the pair, so alpha and beta are of ordered pairs of
variants, and the sums over units follow from those of x, y and their products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.pair_arrays import by_pair, in_every_pair
from streams.analysis.traffic import Traffic
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.stats.arrays import FloatArray, any_of
from streams.stats.sample import Sample
from streams.stats.sequential.contrasts import WeightedSums
from streams.stats.sequential.tails import Moments
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, ProductTally


@dataclass(frozen=True, slots=True, eq=False)
class LinearisedSums:
    """Sums over linearised values; shapes are (n_variants, n_variants), of a beside b at [a, b].

    Attributes:
        weighting: Weight of a unit.
        sums: The sums; their totals are 0.
        ratios: Ratio of a.
        scale: Mean of the denominator that the values are scaled to, > 0.
    """

    weighting: Weighting
    sums: WeightedSums
    ratios: FloatArray
    scale: float


def weighting_of(
    traffic: Traffic, numerators: Sequence[MetricTally], denominators: Sequence[MetricTally]
) -> Weighting:
    """Return the weighting of a ratio, common to both metrics."""
    found = {traffic.weighting_of(each) for each in (numerators, denominators)}
    return Weighting.INVERSE if Weighting.INVERSE in found else traffic.weighting


def linearised(
    traffic: Traffic,
    numerators: Sequence[MetricTally],
    denominators: Sequence[MetricTally],
    products: Sequence[ProductTally],
    samples: Sequence[Sample],
) -> LinearisedSums:
    """Return the sums over the linearised values of the units.

    Args:
        traffic: Split of the units.
        numerators, denominators: The tallies of x and y, of every variant.
        products: Those of x and y, in this order.
        samples: Units of every variant.
    """
    weighting = weighting_of(traffic, numerators, denominators)
    xs, ys = (
        MetricContrasts.of(traffic, each, samples, bounds=None, weighting=weighting).sums
        for each in (numerators, denominators)
    )
    is_known = (ys.total > 0.0) & (ys.weight > 0.0)
    ratios = np.divide(xs.total, ys.total, out=np.zeros_like(xs.total), where=is_known)
    means = np.divide(ys.total, ys.weight, out=np.ones_like(xs.total), where=is_known)
    scale = float(means[is_known].mean()) if any_of(is_known) else 1.0
    alpha = np.where(is_known, scale / means, 0.0)
    beta = -alpha * ratios
    squares = (
        alpha * alpha * xs.total_squared
        + 2.0 * alpha * beta * _products(products, weighting)
        + beta * beta * ys.total_squared
    )
    assert xs.moments is not None  # noqa: S101 - these values have no bound
    moments = _moments(alpha, beta, numerators, denominators, products, samples)
    sums = replace(
        xs,
        total=np.zeros_like(xs.total),  # by their making
        cross=alpha * xs.cross + beta * ys.cross,
        total_squared=np.maximum(squares, 0.0),
        variance=moments[0],
        moments=Moments(*_with_pooled(*moments, xs.units), xs.moments.heaviest),
    )
    return LinearisedSums(weighting, sums, ratios, scale)


def _products(products: Sequence[ProductTally], weighting: Weighting) -> FloatArray:
    """Return the sums of w^2 x y."""
    match weighting:
        case Weighting.PLAIN:
            return in_every_pair(np.array([each.total / MICRO**2 for each in products]))
        case Weighting.OVERLAP:
            one = (PROPENSITY_ONE * MICRO) ** 2
            return by_pair([each.overlap_total for each in products], one)
        case Weighting.INVERSE:
            return in_every_pair(np.array([each.weighted_total / MICRO**4 for each in products]))
        case _:
            assert_never(weighting)


def _moments(
    alpha: FloatArray,
    beta: FloatArray,
    numerators: Sequence[MetricTally],
    denominators: Sequence[MetricTally],
    products: Sequence[ProductTally],
    samples: Sequence[Sample],
) -> tuple[FloatArray, FloatArray]:
    """Return variance and third central moment of alpha x + beta y, without weights."""
    rows = [
        (
            (x.total / MICRO, y.total / MICRO),
            (x.total_squared / MICRO**2, xy.total / MICRO**2, y.total_squared / MICRO**2),
            (
                x.total_cubed / MICRO**3,
                xy.first_squared / MICRO**3,
                xy.second_squared / MICRO**3,
                y.total_cubed / MICRO**3,
            ),
        )
        for x, y, xy in zip(numerators, denominators, products, strict=True)
    ]
    seen = np.array([max(float(sample.units), 1.0) for sample in samples])[:, None]
    first, second, third = (np.array(sums).T[:, :, None] / seen for sums in zip(*rows, strict=True))
    mean = alpha * first[0] + beta * first[1]
    square = alpha**2 * second[0] + 2.0 * alpha * beta * second[1] + beta**2 * second[2]
    cube = (
        alpha**3 * third[0]
        + 3.0 * alpha * beta * (alpha * third[1] + beta * third[2])
        + beta**3 * third[3]
    )
    variance = np.maximum(square - mean * mean, 0.0)
    return variance, cube - 3.0 * mean * square + 2.0 * mean**3


def _with_pooled(
    variance: FloatArray, third: FloatArray, units: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return moments; for a variant with constant values those over all units.

    The values of every variant have the mean 0, so pooled moments are means of theirs.
    """
    together = np.maximum(units.sum(axis=0, keepdims=True), 1.0)
    is_varied = variance > 0.0
    found = (
        np.where(is_varied, each, (units * each).sum(axis=0, keepdims=True) / together)
        for each in (variance, third)
    )
    pooled_variance, pooled_third = found
    return pooled_variance, pooled_third
