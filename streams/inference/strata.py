"""Periods as strata: a base rate that drifts while weights move cannot turn the winner round.

Where a bandit moves the weights, each variant has units of other periods. If the base rate drifts
as well, pooled means compare weekdays with weekends (Simpson's paradox). Within one period the
variants are comparable, so they are compared within periods, and the periods put together with the
same weights for all variants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streams.domain.errors import InvalidParameterError
from streams.inference.sample import Sample


@dataclass(frozen=True, slots=True)
class Stratified:
    """Variants made comparable.

    Attributes:
        samples: One sample for each variant, of as many units as its estimate is worth.
        units_left_out: Units of periods in which some variant had none.
    """

    samples: tuple[Sample, ...]
    units_left_out: float


def stratified(periods: Sequence[Sequence[Sample]]) -> Stratified:
    """Return samples whose means are those of a period, averaged over the periods.

    Every period counts by its share v of all units, whatever a variant had of them. The mean of a
    variant with n_t units in period t then has the variance of the mean of 1 / sum(v_t^2 / n_t)
    units, which the sample says it has: as many as there are if the weights never moved, and fewer
    the more they did. What the periods differ by stays in the squared deviations, so intervals err
    to the side of caution.

    A variant that has the largest mean in every period has the largest mean: no weights can turn
    that round. The number is the same for every order of periods and variants.

    Args:
        periods: The samples of all variants, by period of assignment.

    Raises:
        InvalidParameterError: the periods differ in their number of variants.

    Source: Cochran, Sampling Techniques, 3rd ed., section 5A.9 (post-stratification).

    Examples:
        >>> quiet = [Sample(900, 9, 9, 8.91, 0), Sample(100, 2, 2, 1.96, 0)]
        >>> busy = [Sample(100, 10, 10, 9, 0), Sample(900, 99, 99, 88.11, 0)]
        >>> [round(sample.mean, 3) for sample in stratified([quiet, busy]).samples]
        [0.055, 0.065]
    """
    sizes = {len(period) for period in periods}
    if len(sizes) > 1:
        raise InvalidParameterError("periods", sorted(sizes), "of equally many variants")
    complete = [period for period in periods if all(sample.units > 0.0 for sample in period)]
    totals = [math.fsum(sample.units for sample in period) for period in complete]
    everyone = math.fsum(totals)
    shares = [total / everyone for total in totals]
    samples = []
    for variant in range(max(sizes, default=0)):
        parts = [period[variant] for period in complete]
        worth = math.fsum(v * v / part.units for v, part in zip(shares, parts, strict=True))
        samples.append(
            Sample.pooled(
                (v / (part.units * worth), part) for v, part in zip(shares, parts, strict=True)
            )
        )
    left_out = (
        sample.units
        for period in periods
        if not all(sample.units > 0.0 for sample in period)
        for sample in period
    )
    return Stratified(tuple(samples), math.fsum(left_out))
