"""Sizes of a test that is looked at once, at its end, by formula.

Two-sided z-test of the best variant against the control, with Bonferroni's share of the error for
each of the comparisons with the control:

    n = (z(1 - a / 2) sd0 + z(power) sd1)^2 / d^2 units a variant,

d the difference of the means, sd1 the root of the sum of both variances, and sd0 of twice the
variance at the mean of both means, which is what the null hypothesis supposes.

Source: Fleiss, Levin and Paik (2003), "Statistical methods for rates and proportions", equation
    4.14; `power.prop.test` of R and `samplesize_proportions_2indep_onetail` of statsmodels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy import special

from streams.model.errors import InvalidParameterError
from streams.planning.assumed import Assumption, ValueKind
from streams.stats.numerics.brent import brent_root

MAX_UNITS = 10**12
"""Largest number of units of a variant that is planned."""

_LEAST_GAIN = 1e-3
_SMALLEST_LIFT = 1e-6
_LARGEST_LIFT = 1e6


@dataclass(frozen=True, slots=True)
class Design:
    """Requirements of a test.

    Attributes:
        n_variants: Variants, the control among them, >= 2.
        alpha: Probability of finding a difference that does not exist, in (0, 0.5].
        power: Probability of finding the assumed one, in [0.5, 1) and at least 0.001 above `alpha`.
    """

    n_variants: int = 2
    alpha: float = 0.05
    power: float = 0.8

    def __post_init__(self) -> None:
        if self.n_variants < 2:  # noqa: PLR2004 - a control and another one
            raise InvalidParameterError("n_variants", self.n_variants, ">= 2")
        if not 0.0 < self.alpha <= 0.5:  # noqa: PLR2004 - where thresholds of a product end
            raise InvalidParameterError("alpha", self.alpha, "in (0, 0.5]")
        if not 0.5 <= self.power < 1.0:  # noqa: PLR2004
            raise InvalidParameterError("power", self.power, "in [0.5, 1)")
        if self.power < self.alpha + _LEAST_GAIN:
            raise InvalidParameterError("power", self.power, f"{_LEAST_GAIN} above alpha at least")


def units_per_variant(assumed: Assumption, design: Design) -> int:
    """Return how many units every variant needs.

    It is the normal approximation: below some thirty units, Student's t asks for one or two more.

    Raises:
        InvalidParameterError: it needs more than `MAX_UNITS`.

    Examples:
        >>> units_per_variant(Assumption(ValueKind.BINARY, 0.05, 0.1), Design())
        31234
    """
    units = _units(assumed, design)
    if not units <= MAX_UNITS:
        rule = f"large enough to be found with {MAX_UNITS:,} units of a variant"
        raise InvalidParameterError("lift", assumed.lift, rule)
    return max(1, math.ceil(units))


def detectable_lift(assumed: Assumption, design: Design, n_units: int) -> float | None:
    """Return the smallest lift that a test of a given size finds with its power.

    Args:
        assumed: The metric; its lift does not matter.
        design: What is asked of the test.
        n_units: Units of all variants together, >= 1.

    Returns:
        The lift relative to the baseline; None if the size finds none, however large.

    Examples:
        >>> round(detectable_lift(Assumption(ValueKind.BINARY, 0.05, 1.0), Design(), 62_468), 4)
        0.1
    """
    largest = _LARGEST_LIFT
    if assumed.kind is ValueKind.BINARY:
        largest = (1.0 - assumed.baseline) / assumed.baseline * (1.0 - 1e-9)

    def lacking(lift: float) -> float:
        return _units(replace(assumed, lift=lift), design) - n_units / design.n_variants

    if lacking(largest) > 0.0:
        return None
    if lacking(_SMALLEST_LIFT) < 0.0:
        return _SMALLEST_LIFT
    return brent_root(lacking, _SMALLEST_LIFT, largest)


def _units(assumed: Assumption, design: Design) -> float:
    error = design.alpha / (design.n_variants - 1)
    both = (assumed.baseline + assumed.best) / 2.0
    spread_null = math.sqrt(2.0 * assumed.variance(both))
    spread = math.sqrt(assumed.variance(assumed.baseline) + assumed.variance(assumed.best))
    quantiles = (
        special.ndtri(1.0 - error / 2.0) * spread_null + special.ndtri(design.power) * spread
    )
    difference = assumed.difference
    # A lift of almost nothing is lost in the baseline.
    ratio = float(quantiles / difference) if difference else math.inf
    return ratio * ratio
