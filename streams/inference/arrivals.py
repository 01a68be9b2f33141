"""Conversions that have not come yet: young units count for as much as they could have told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from streams.domain.errors import InvalidParameterError
from streams.inference.posterior import FloatArray
from streams.inference.sample import Sample


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalCurve:
    """Which share of the conversions of a unit has arrived by an age.

    Attributes:
        shares: Share that has arrived at the end of each bucket of delay; shape (n_buckets,),
            increasing, in [0, 1], the last one 1.
    """

    shares: FloatArray

    @classmethod
    def estimated(cls, arrived: ArrayLike, ages: ArrayLike) -> ArrivalCurve:
        """Return the curve of the conversions that have arrived.

        Young units show short delays alone, so a plain histogram of delays is biased towards them.
        Each bucket is therefore compared with the earlier ones of those units alone that are old
        enough for it. What comes after the oldest units' age is not known and counts as nothing:
        the curve is that of conversions within that age, and ends at 1.

        Args:
            arrived: Units with a conversion, by period of assignment and bucket of delay; shape
                (n_periods, n_buckets), >= 0. Buckets follow each other and may be of any length.
                Those of all variants together, if they do not differ in delay.
            ages: Age of the youngest unit of each period, in buckets: how many are over; shape
                (n_periods,), >= 0. A bucket that is not over for all units of a period is not used.

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
        before = 1.0 - np.divide(within, by_then, out=np.zeros(n_buckets), where=by_then > 0.0)
        later = np.append(before[1:], 1.0)
        return cls(later[::-1].cumprod()[::-1])

    def at(self, ages: ArrayLike) -> FloatArray:
        """Return the share that has arrived by ages in buckets, >= 0; linear within a bucket."""
        knots = np.arange(len(self.shares) + 1)
        shares: FloatArray = np.interp(
            np.asarray(ages, dtype=np.float64), knots, np.append(0.0, self.shares)
        )
        return shares


def matured(periods: Sequence[Sample], shares: Sequence[float]) -> Sample:
    """Return the sample in which every unit counts for the share of its conversions that can be in.

    n units of age t, of whose conversions F(t) have arrived, have told what n F(t) units of full
    age would have: conversions over them estimate the rate without bias, and at once, where waiting
    for the window loses the newest units and not waiting drags every young variant down.

    Args:
        periods: The periods of one variant.
        shares: F at the age of each period, in [0, 1].

    Source: Vernade, Cappe and Perchet (2017), "Stochastic bandit models for delayed conversions",
        section 4.1, arXiv 1706.09186.

    Examples:
        >>> matured([Sample(100, 10, 10, 9, 0), Sample(100, 4, 4, 3.84, 0)], [1.0, 0.4]).units
        140.0
    """
    for share in shares:
        if not 0.0 <= share <= 1.0:
            raise InvalidParameterError("shares", share, "in [0, 1]")
    everyone = Sample.pooled((1.0, period) for period in periods)
    told = math.fsum(period.units * share for period, share in zip(periods, shares, strict=True))
    # Sooner than the curve expects, conversions can outnumber the units that could have told.
    units = max(told, everyone.units_with_value)
    absent = 1.0 - everyone.units_with_value / units if units else 0.0
    return Sample(
        units=units,
        units_with_value=everyone.units_with_value,
        total=everyone.total,
        squared_deviations=everyone.value_squared_deviations
        + everyone.value_mean * everyone.total * absent,
        value_squared_deviations=everyone.value_squared_deviations,
    )
