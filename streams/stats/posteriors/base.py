"""Interface of the posteriors of several arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray
from streams.stats.posterior_parameters import PosteriorFamily

SMALLEST_PRIOR, LARGEST_PRIOR = 0.01, 1e9
"""Pseudo-units and pseudo-events that a prior may weigh. With fewer than the smallest, all of the
mass lies beyond the smallest machine number: a mean of 0 and one of 1e-300 are equal, and so are
the variants. A hundredth of a unit is gone with the first one."""

LARGEST_SIZE = 1e18
"""Largest shape of a posterior, in units or events: its deviation is 1e-9 of the mean, which double
precision resolves with seven digits. More evidence is capped at this value, which is
conservative."""

NARROWEST = 1e-12
"""Smallest scale of a posterior over the absolute value of its location: double precision then
resolves it to one ten-thousandth."""

Arms = NDArray[np.bool_] | NDArray[np.intp]
"""Selection of arms: a mask of shape (n_arms,), or indices, which may repeat."""


class Posteriors(Protocol):
    """Independent posteriors of the means of several arms, of one family.

    A density is given over a *coordinate* in which it is smooth, an increasing function of the mean
    (the logit of a probability, otherwise the mean itself): quadrature needs smoothness, and a Beta
    density is singular at 0 or 1 when a parameter is below 1.
    """

    @property
    def means(self) -> FloatArray:
        """Posterior means; shape (n_arms,)."""

    def take(self, arms: Arms) -> Self:
        """Return the posteriors of some arms."""

    def joined(self, others: Sequence[Self]) -> Self:
        """Return the posteriors of these arms, then those of the arms of others."""

    def quantiles(self, probability: float) -> FloatArray:
        """Return the quantile of every mean at `probability` in (0, 1); shape (n_arms,)."""

    def support(self) -> tuple[FloatArray, FloatArray]:
        """Return coordinates outside which the mass is negligible; shape (n_arms,) each."""

    def modes_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """Return where the densities peak, and how wide they are there; shape (n_arms,) each.

        Width is the standard deviation of a normal law that bends as much at its peak, in units of
        the coordinate. The peak may be a rough one.
        """

    def density(self, coordinates: FloatArray) -> FloatArray:
        """Return the densities over the coordinate; shape (n_arms, n_coordinates).

        Args:
            coordinates: The same for all arms, shape (n_coordinates,), or each arm's own, shape
                (n_arms, n_coordinates).
        """

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Return the means at these coordinates; of the same shape."""

    def coordinates(self, values: FloatArray) -> FloatArray:
        """Return the coordinates of these means; infinite where no mean can be."""

    def smooth_width(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Return the widest panel on which a density within [left, right] is nearly polynomial.

        Args:
            left: Left ends of intervals of the coordinate; shape (n_intervals,).
            right: Right ends; shape (n_intervals,).

        Returns:
            Widths; shape (n_arms, n_intervals), > 0.
        """


class PublishedPosteriors(Posteriors, Protocol):
    """Posteriors of means with parameters that are published.

    Attributes:
        family: Their family.
    """

    family: ClassVar[PosteriorFamily]

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Parameters by name, as `PosteriorFamily` has them; shape (n_arms,) each."""
