"""Delayed conversions: units weighted by the expected share of arrived conversions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.nonstationary.period_samples import Samples, mean_of


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalCurve:
    """Share of the conversions of a unit that have arrived by an age.

    Attributes:
        shares: Share that has arrived at the end of each bucket of delay; shape (n_buckets,),
            increasing, in [0, 1], the last one 1.
    """

    shares: FloatArray

    @classmethod
    def estimated(cls, arrived: ArrayLike, ages: ArrayLike, least: float = 0.0) -> ArrivalCurve:
        """Return the curve of the conversions that have arrived.

        Young units only show short delays, so a plain histogram of delays is biased towards them.
        Each bucket is therefore compared with the earlier ones of only those units that are old
        enough for it. Conversions beyond the age of the oldest units are unknown and treated as
        absent: the curve is that of conversions within that age, and ends at 1.

        Args:
            arrived: Units with a conversion, by period of assignment and bucket of delay; shape
                (n_periods, n_buckets), >= 0. Buckets follow each other and may be of any length.
                Those of all variants together, if they do not differ in delay.
            ages: Age of the youngest unit of each period, in buckets: how many are over; shape
                (n_periods,), >= 0. A bucket that is not over for all units of a period is not used.
            least: Conversions by the end of a bucket, of units old enough for it, below which it is
                taken to bring none: a few old units would decide about all young ones.

        Raises:
            InvalidParameterError: an argument is outside its domain.

        Source: Lynden-Bell (1971), the product limit for right truncation; as in Kalbfleisch and
            Lawless (1989), "Inference based on retrospective ascertainment", section 3.

        Examples:
            >>> ArrivalCurve.estimated([[6, 3, 1], [12, 6, 0], [12, 0, 0]], [3, 2, 1]).shares
            array([0.6, 0.9, 1. ])
        """
        counts = np.asarray(arrived, dtype=np.float64)
        age = np.floor(np.asarray(ages, dtype=np.float64))
        if counts.ndim != 2 or not np.all((counts >= 0.0) & np.isfinite(counts)):  # noqa: PLR2004
            raise InvalidParameterError("arrived", counts.tolist(), "a table of numbers >= 0")
        if age.shape != counts.shape[:1] or not np.all(age >= 0.0):
            raise InvalidParameterError("ages", age.tolist(), ">= 0, one for each period")
        n_buckets = counts.shape[1]
        is_over = np.arange(n_buckets) < age[:, None]
        by_then = np.where(is_over, counts.cumsum(axis=1), 0.0).sum(axis=0)
        within = np.where(is_over, counts, 0.0).sum(axis=0)
        # Share of those by the end of a bucket that had come before it.
        is_known = (by_then > 0.0) & (by_then >= least)
        before = 1.0 - np.divide(within, by_then, out=np.zeros(n_buckets), where=is_known)
        later = np.append(before[1:], 1.0)
        return cls(later[::-1].cumprod()[::-1])

    def at(self, ages: ArrayLike) -> FloatArray:
        """Return the share that has arrived by ages in buckets, >= 0; linear within a bucket."""
        knots = np.arange(len(self.shares) + 1)
        shares: FloatArray = np.interp(
            np.asarray(ages, dtype=np.float64), knots, np.append(0.0, self.shares)
        )
        return shares


def matured(periods: Samples, shares: ArrayLike, starts: Sequence[int] = (0,)) -> Samples:
    """Return the samples with units weighted by the expected share of arrived conversions.

    n units of age t, of whose conversions F(t) have arrived, are equivalent to n F(t) units of full
    age: conversions over them estimate the rate without bias and without delay, while waiting for
    the window loses the newest units, and no correction biases young variants downwards.

    Args:
        periods: The periods.
        shares: F at the age of each period, in [0, 1]; shape (n_periods,).
        starts: First period of each group, as in `Samples.pooled`; a group becomes one sample.

    Raises:
        InvalidParameterError: a share is outside its domain.

    Source: Vernade, Cappe and Perchet (2017), "Stochastic bandit models for delayed conversions",
        section 4.1, arXiv 1706.09186.

    Examples:
        >>> from streams.stats.sample import Sample
        >>> rows = [[Sample(100, 10, 10, 9, 0)], [Sample(100, 4, 4, 3.84, 0)]]
        >>> matured(Samples.of(rows), [1.0, 0.4]).units
        array([[140.]])
    """
    arrived = np.asarray(shares, dtype=np.float64)
    if not np.all((arrived >= 0.0) & (arrived <= 1.0)):
        raise InvalidParameterError("shares", arrived.tolist(), "in [0, 1]")
    everyone = periods.pooled(starts)
    effective = periods.weighted(arrived).pooled(starts).units
    # With early conversions, their number can exceed the effective units.
    units = np.maximum(effective, everyone.units_with_value)
    absent = 1.0 - mean_of(everyone.units_with_value, units)
    value_means = mean_of(everyone.total, everyone.units_with_value)
    return replace(
        everyone,
        units=units,
        squared_deviations=everyone.value_squared_deviations
        + value_means * everyone.total * absent,
    )
