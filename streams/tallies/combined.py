"""The tally of a linear combination of two metrics, from theirs and their products."""

from __future__ import annotations

from fractions import Fraction

from streams.tallies.cell import MetricTally, ProductTally


def combine(
    first: MetricTally,
    second: MetricTally,
    product: ProductTally,
    alpha: float,
    beta: float,
) -> MetricTally:
    """Return the tally of alpha * x + beta * y, x and y being a unit's values of two metrics.

    Sums are combined exactly and rounded once, half to even. Units with both count twice among
    `units` and `observations`: how many have both is not known.

    Args:
        first: Tally of x.
        second: Tally of y.
        product: Of x and y.
        alpha, beta: Finite.

    Examples:
        >>> one, other = MetricTally(2, 3, 5, 13), MetricTally(2, 2, 3, 5)
        >>> combine(one, other, ProductTally(8), 1.0, -2.0).total_squared
        1
    """
    a, b = Fraction(alpha), Fraction(beta)

    def linear(x: int, y: int) -> int:
        return round(a * x + b * y)

    def quadratic(x: int, xy: int, y: int) -> int:
        return round(a * a * x + 2 * a * b * xy + b * b * y)

    return MetricTally(
        units=first.units + second.units,
        observations=first.observations + second.observations,
        total=linear(first.total, second.total),
        total_squared=quadratic(first.total_squared, product.total, second.total_squared),
        weighted_total=linear(first.weighted_total, second.weighted_total),
        weighted_total_squared=quadratic(
            first.weighted_total_squared, product.weighted_total, second.weighted_total_squared
        ),
        overlap_total=linear(first.overlap_total, second.overlap_total),
        overlap_cross=linear(first.overlap_cross, second.overlap_cross),
        overlap_total_squared=quadratic(
            first.overlap_total_squared, product.overlap_total, second.overlap_total_squared
        ),
        weighted_cross=linear(first.weighted_cross, second.weighted_cross),
    )
