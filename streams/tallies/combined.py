"""The tally of a linear combination of two metrics, from theirs and their products."""

from __future__ import annotations

from fractions import Fraction

from streams.tallies.cell import METRIC_FIELDS, PRODUCT_FIELDS, MetricTally, ProductTally
from streams.tallies.fields import Statistic, Weight


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
    x, y = METRIC_FIELDS.by_use(first), METRIC_FIELDS.by_use(second)
    xy = PRODUCT_FIELDS.by_use(product)

    def combined(statistic: Statistic, weight: Weight) -> int:
        one, other = x[statistic, weight], y[statistic, weight]
        match statistic:
            case Statistic.UNITS | Statistic.OBSERVATIONS:
                return one + other
            case Statistic.VALUE:
                return round(a * one + b * other)
            case Statistic.SQUARE:
                both = xy[Statistic.VALUE, weight]
                return round(a * a * one + 2 * a * b * both + b * b * other)
            case Statistic.CUBE:
                mixed = a * xy[Statistic.SQUARE, weight] + b * xy[Statistic.CUBE, weight]
                return round(a * a * a * one + 3 * a * b * mixed + b * b * b * other)
            case _:  # of a combination nothing is 0 or 1
                return 0

    sums = [combined(each.statistic, each.weight) for each in METRIC_FIELDS.sums]
    return METRIC_FIELDS.new(*sums, (), ())
