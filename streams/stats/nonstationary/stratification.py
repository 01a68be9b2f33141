"""Stratification by period, against Simpson's paradox when base rate and allocation both change.

Under adaptive weights, each variant has units of different periods. If the base rate also drifts,
pooled means compare weekdays with weekends. Within one period the variants are comparable, so they
are compared within periods, and the periods are combined with the same weights for all variants.
"""

from __future__ import annotations

import numpy as np

from streams.stats.nonstationary.period_samples import Samples
from streams.stats.sample import Sample


def stratified(periods: Samples) -> tuple[Sample, ...]:
    """Return samples whose means are weighted averages of the means by period.

    Every period is weighted by its share v of all units, for every variant; periods in which some
    variant has no units are left out. The mean of a variant with n_t units in period t then has the
    variance of a mean of 1 / sum(v_t^2 / n_t) units, the effective number in the sample: all units
    if the weights never moved, and fewer the more they did. The variance between periods stays in
    the squared deviations, so intervals are conservative.

    A variant with the largest mean in every period has the largest mean, for any weights. The
    result does not depend on the order of periods and variants.

    Args:
        periods: The samples of all variants, by period of assignment.

    Returns:
        One sample per variant, with its effective number of units.

    Source: Cochran, Sampling Techniques, 3rd ed., section 5A.9 (post-stratification).

    Examples:
        >>> quiet = [Sample(900, 9, 9, 8.91, 0), Sample(100, 2, 2, 1.96, 0)]
        >>> busy = [Sample(100, 10, 10, 9, 0), Sample(900, 99, 99, 88.11, 0)]
        >>> [round(sample.mean, 3) for sample in stratified(Samples.of([quiet, busy]))]
        [0.055, 0.065]
    """
    complete = periods.only(np.all(periods.units > 0.0, axis=1))
    totals = complete.units.sum(axis=1)
    shares = (totals / totals.sum())[:, None] if len(totals) else np.zeros((0, 1))
    worth = (shares * shares / complete.units).sum(axis=0)
    return complete.weighted(shares / (complete.units * worth)).pooled().row(0)
