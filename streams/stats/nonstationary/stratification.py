"""Stratification by period, against Simpson's paradox when base rate and allocation both change.

Under a bandit that moves the weights, each variant has units of other periods. If the base rate
drifts as well, pooled means compare weekdays with weekends. Within one period
the variants are comparable, so they are compared within periods, and the periods put together with
the same weights for all variants.
"""

from __future__ import annotations

import numpy as np

from streams.stats.nonstationary.period_samples import Samples
from streams.stats.sample import Sample


def stratified(periods: Samples) -> tuple[Sample, ...]:
    """Return samples whose means are those of a period, averaged over the periods.

    Every period counts by its share v of all units, whatever a variant had of them; one in which
    some variant has no units is left out. The mean of a variant with n_t units in period t then has
    the variance of the mean of 1 / sum(v_t^2 / n_t) units, which the sample says it has: as many as
    there are if the weights never moved, and fewer the more they did. The variance between
    periods stays in the squared deviations, so intervals err to the side of caution.

    A variant that has the largest mean in every period has the largest mean: no weights can turn
    that round. The number is the same for every order of periods and variants.

    Args:
        periods: The samples of all variants, by period of assignment.

    Returns:
        One sample a variant, of as many units as its estimate is worth.

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
