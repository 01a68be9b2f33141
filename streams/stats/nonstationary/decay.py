"""Decay of old units by a half-life, for drifting rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from streams.model.errors import InvalidParameterError
from streams.stats.nonstationary.period_samples import Samples

_MOST_HALVINGS = 60.0


def faded(periods: Samples, ages_s: ArrayLike, half_life_s: float) -> Samples:
    """Return the samples with units weighted by 2^(-age / half-life).

    The decayed posterior of all periods is that of discounted Thompson sampling: as old units
    decay, it widens towards the prior, so a dropped variant is explored again. It estimates the
    current mean, and is for policies; the effect of an experiment over its whole duration uses
    equal weights.

    A mean of such units has a smaller variance than one of as many new units, because many old
    units are averaged: intervals are conservative, by a factor of at most sqrt(2) in width at a
    constant rate of units.

    Args:
        periods: The periods.
        ages_s: Seconds since the middle of each period, >= 0; shape (n_periods,).
        half_life_s: Seconds after which the weight of a unit has halved, > 0; infinite for no
            decay. After 60 half-lives the weight is 0.

    Raises:
        InvalidParameterError: an age or the half-life is outside its domain.

    Source: Raj and Kalyani (2017), "Taming non-stationary bandits: a Bayesian approach",
        algorithm 1, arXiv 1707.09727.

    Examples:
        >>> from streams.stats.sample import Sample
        >>> week = Samples.of([[Sample(100, 10, 10, 9, 0)]])
        >>> faded(week, [604_800.0], half_life_s=604_800.0).units
        array([[50.]])
    """
    ages = np.asarray(ages_s, dtype=np.float64)
    if not half_life_s > 0.0:
        raise InvalidParameterError("half_life_s", half_life_s, "> 0")
    if not np.all((ages >= 0.0) & np.isfinite(ages)):
        raise InvalidParameterError("ages_s", ages.tolist(), "finite and >= 0")
    halvings = ages / half_life_s
    # Below, products of such weights underflow; what they stand for is nothing long before.
    return periods.weighted(np.where(halvings <= _MOST_HALVINGS, np.exp2(-halvings), 0.0))
