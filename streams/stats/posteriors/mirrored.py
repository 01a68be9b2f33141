"""Posteriors of minus the means, for metrics of which less is better.

All formulas for the best arm use the largest mean. If less is better, they are applied to the
posteriors of the negated means, so no formula is duplicated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.stats.arrays import FloatArray
from streams.stats.direction import Direction
from streams.stats.posteriors.base import Arms, Posteriors


@dataclass(frozen=True, slots=True, eq=False)
class MirroredPosteriors:
    """Posteriors of minus the means of `original`: coordinates and means change their sign."""

    original: Posteriors

    @property
    def means(self) -> FloatArray:
        """Posterior means."""
        return -self.original.means

    def take(self, arms: Arms) -> MirroredPosteriors:
        """Return the posteriors of some arms."""
        return MirroredPosteriors(self.original.take(arms))

    def joined(self, others: Sequence[MirroredPosteriors]) -> MirroredPosteriors:
        """Return the posteriors of these arms, then those of the arms of others."""
        return MirroredPosteriors(self.original.joined([each.original for each in others]))

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every mean at `probability`."""
        return -self.original.quantiles(1.0 - probability)

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return the support of `original` with its ends exchanged."""
        lower, upper = self.original.support()
        return -upper, -lower

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """Return the peaks of `original` with their signs changed, and its widths."""
        peak, width = self.original.modes_and_scales()
        return -peak, width

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities over the coordinate."""
        return self.original.density(-coordinates)

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Return the means at these coordinates."""
        return -self.original.values(-coordinates)

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Return the coordinates of these means."""
        return -self.original.coordinates(-values)

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return the widest panel on which a density is nearly polynomial."""
        return self.original.smooth_width(-right, -left)


def mirrored(posteriors: Posteriors) -> Posteriors:
    """Return the posteriors of minus the means; of those, the same posteriors one began with."""
    return (
        posteriors.original
        if isinstance(posteriors, MirroredPosteriors)
        else MirroredPosteriors(posteriors)
    )


def oriented(posteriors: Posteriors, direction: Direction) -> Posteriors:
    """Return posteriors of which the largest mean is the best one.

    Examples:
        >>> import numpy as np
        >>> from streams.stats.bayes.best import best
        >>> from streams.stats.posteriors.beta import BetaPosterior
        >>> errors = BetaPosterior.observed([2, 40], [998, 960])
        >>> best(oriented(errors, Direction.DECREASE)).probability.round(3)
        array([1., 0.])
    """
    return posteriors if direction is Direction.INCREASE else mirrored(posteriors)
