"""Size of a group sequential test: a few looks that are planned beforehand, by formula.

A test of fixed size has a drift of z(1 - a / 2) + z(power), the mean of its z at the end. With
boundaries at every look it needs a larger one, and so (drift / fixed drift)^2 times the units at
most; but most experiments end before the last look.

Source: Jennison and Turnbull (2000), "Group Sequential Methods with Applications to Clinical
    Trials", section 2.3 and chapter 7 (spending functions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.planning.fixed import Design
from streams.stats.numerics.brent import brent_root
from streams.stats.sequential.group_sequential import MAX_LOOKS, Crossing, Spending, boundaries

_LARGEST_RATIO = 1.5  # of drifts: 200 looks of equal weight take at most 1.4 times the units


@dataclass(frozen=True, slots=True)
class Look:
    """One of the looks.

    Attributes:
        units: Units of a variant by then.
        critical: Stop if the z statistic is as large, either way.
        stopped: Probability to have stopped by then, if the lift is what was supposed.
    """

    units: int
    critical: float
    stopped: float


@dataclass(frozen=True, slots=True)
class GroupSequential:
    """A test with planned looks.

    Attributes:
        spending: How its error is spent.
        looks: The looks, evenly spread.
        expected: Mean units of a variant at its end, if the lift is what was supposed.
    """

    spending: Spending
    looks: tuple[Look, ...]
    expected: float

    @property
    def per_variant(self) -> int:
        """Units of a variant at the last look."""
        return self.looks[-1].units


def group_sequential(
    per_variant: int, design: Design, n_looks: int, spending: Spending
) -> GroupSequential:
    """Return the test that has the error and the power of one of fixed size.

    Args:
        per_variant: Units of a variant in the test of fixed size, >= 1.
        design: What is asked of either.
        n_looks: Number of looks, in 2..`MAX_LOOKS`.
        spending: How the error is spent.

    Raises:
        InvalidParameterError: the number of looks is outside its domain.

    Examples:
        >>> found = group_sequential(10_000, Design(), 5, Spending.OBRIEN_FLEMING)
        >>> found.per_variant, round(found.expected, -2)
        (10248, 8200.0)
    """
    if not 2 <= n_looks <= MAX_LOOKS:  # noqa: PLR2004 - one look is a test of fixed size
        raise InvalidParameterError("n_looks", n_looks, f"in 2..{MAX_LOOKS}")
    error = design.alpha / (design.n_variants - 1)
    fractions = np.linspace(0.0, 1.0, n_looks + 1)[1:].tolist()
    critical = boundaries(fractions, error, spending)
    fixed = float(special.ndtri(1.0 - error / 2.0) + special.ndtri(design.power))
    crossing = Crossing(fractions, critical, fixed * _LARGEST_RATIO)
    # Without a drift it stops with the probability of the error, which is less than the power.
    drift = brent_root(
        lambda each: crossing.at(each)[-1] - design.power, 0.0, fixed * _LARGEST_RATIO
    )
    stopped = crossing.at(drift)
    whole = per_variant * (drift / fixed) ** 2
    looks = tuple(
        Look(math.ceil(whole * fraction), float(bound), float(share))
        for fraction, bound, share in zip(fractions, critical, stopped, strict=True)
    )
    # It continues to each look unless it has stopped before.
    going_on = 1.0 - np.append(0.0, stopped[:-1])
    return GroupSequential(spending, looks, float(whole * going_on.sum() / n_looks))
