"""Potential value remaining: a bound on how much better than the leader the best arm may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of
from streams.stats.direction import Direction
from streams.stats.numerics.root_finding import solve_increasing
from streams.stats.numerics.tabulated import TabulatedPosteriors

_N_NODES = 8
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_N_NODES)
_PANELS = np.linspace(0.0, 1.0, 13)  # of the grid of each arm, which is steep in the middle
_NARROWEST_OTHER = 1.85  # in steps of the arm, so that its points are close enough
_QUARTILES_PER_DEVIATION = 1.349
_SMALLEST = 1e-12
_BELOW_ZERO = 0.1  # largest mass of the arm beyond 0, as a share of the tail


@dataclass(frozen=True, slots=True)
class ValueRemaining:
    """Quantile of the loss of stopping with an arm.

    Attributes:
        absolute: Quantile of (largest mean - mean of the arm), in units of the mean, >= 0.
        relative: Quantile of the same over the arm's mean, >= 0; NaN while the sign of the mean is
            uncertain.
    """

    absolute: float
    relative: float


def value_remaining(
    table: TabulatedPosteriors,
    arm: int,
    *,
    direction: Direction = Direction.INCREASE,
    probability: float = 0.95,
) -> ValueRemaining:
    """Return a quantile of the loss of stopping with an arm.

    "Stop when the 95th percentile is below 1 % of the leader" ends an experiment in which nothing
    worthwhile is left to learn, even when two good arms cannot be distinguished. It is a Bayesian
    rule and bounds no error rate.

    The distribution function of the largest of the others is the product of their tabulated ones;
    it is summed over the points of the arm or, if another one is much narrower or has a corner,
    integrated between all points at which one of them bends. The error of the probability is below
    1e-5.

    Args:
        table: Posteriors of the means of one metric.
        arm: Index of the arm to stop with, usually the one with the largest P(best).
        direction: Direction of improvement of the metric.
        probability: Probability that no more than this is lost, in (0, 1).

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Scott (2010), "A modern Bayesian look at the multi-armed bandit", and (2015),
        "Multi-armed bandit experiments in the online service economy", section 4.3.

    Examples:
        >>> from streams.stats.posteriors.beta import BetaPosterior
        >>> arms = BetaPosterior.observed([5_000, 5_010, 1], [95_000, 94_990, 99])
        >>> round(value_remaining(TabulatedPosteriors.of(arms), 1).relative, 3)
        0.038
    """
    return _remaining(table, arm, direction, probability, with_absolute=True)


def relative_value_remaining(
    table: TabulatedPosteriors,
    arm: int,
    *,
    direction: Direction = Direction.INCREASE,
    probability: float = 0.95,
) -> float:
    """Return only the relative quantile, which takes half the time; NaN as in `value_remaining`.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    return _remaining(table, arm, direction, probability, with_absolute=False).relative


def _remaining(
    table: TabulatedPosteriors,
    arm: int,
    direction: Direction,
    probability: float,
    *,
    with_absolute: bool,
) -> ValueRemaining:
    n_arms = len(table.means)
    if not 0 <= arm < n_arms:
        raise InvalidParameterError("arm", arm, f"in 0..{n_arms - 1}")
    if not 0.0 < probability < 1.0:
        raise InvalidParameterError("probability", probability, "in (0, 1)")
    if n_arms == 1:
        return ValueRemaining(0.0, 0.0)
    largest = _LargestOther(table, arm, direction)
    sure = largest.below(1.0, 0.0)
    if sure >= probability:
        return ValueRemaining(0.0, 0.0)
    mean = direction.sign * float(table.means[arm])
    deviation = largest.deviation()

    def quantile(sign: float) -> float:
        """Return that of the difference, or over +-mean."""

        def below(parameter: FloatArray, _: NDArray[np.intp]) -> FloatArray:
            value = parameter.item()
            line = (1.0 + sign * value, 0.0) if sign else (1.0, value)
            return np.array([largest.below(*line)])

        scale = abs(mean) if sign else 1.0
        wanted, widths = np.array([probability]), np.array([deviation / scale])
        # The value at 0 is known, and the search begins there.
        found = solve_increasing(below, wanted, np.zeros(1), widths, max(sure, _SMALLEST))
        return max(found.item(), 0.0)

    beyond_zero = float(table.masses_at_zero(np.array([arm]))[0])
    has_sign = min(beyond_zero, 1.0 - beyond_zero) <= _BELOW_ZERO * (1.0 - probability)
    return ValueRemaining(
        absolute=quantile(0.0) if with_absolute else np.nan,
        relative=quantile(float(np.sign(mean))) if has_sign else np.nan,
    )


class _LargestOther:
    """The largest mean of all arms but one, compared with that one; negated if less is better.

    One table serves both directions: the negated others are below a line of the negated arm where
    the others are above the mirrored line.
    """

    def __init__(self, table: TabulatedPosteriors, arm: int, direction: Direction) -> None:
        self._table = table
        self._arm = arm
        self._sign = direction.sign
        self._others = np.flatnonzero(np.arange(len(table.means)) != arm)
        narrowest = table.spread[self._others].min()
        corners = table.lowest[self._others], table.highest[self._others]
        # Products of smooth functions of the points of the arm are also smooth.
        self._is_smooth = bool(
            narrowest >= _NARROWEST_OTHER * table.step[arm] * table.spread[arm]
            and all_of(np.isinf(corners))
        )
        self._panels = None if self._is_smooth else _Panels(table, arm, self._others)

    def deviation(self) -> float:
        """Return the approximate deviation of (largest other - arm)."""
        means, spread = self._sign * self._table.means, self._table.spread
        rival = self._others[np.argmax((means + spread)[self._others])]
        return float(np.hypot(spread[rival], spread[self._arm])) / _QUARTILES_PER_DEVIATION

    def below(self, slope: float, offset: float) -> float:
        """Return P(all others <= slope * arm + offset)."""
        table, height = self._table, self._sign * offset
        if slope == 0.0:
            return float(self._others_below(np.array([height])).item())
        if self._panels is None:
            masses, values = table.density[self._arm], table.values[self._arm]
        else:
            masses, values = self._panels.nodes(slope, height)
        return float((masses * self._others_below(slope * values + height)).sum())

    def _others_below(self, line: FloatArray) -> FloatArray:
        """Return the probability that no other arm is better than these means."""
        below = self._table.below_values(self._others, line[None, :])
        found: FloatArray = np.multiply.reduce(below if self._sign > 0 else 1.0 - below, axis=0)
        return found


class _Panels:
    """Panels of an arm between all points at which the distribution function of another bends."""

    def __init__(self, table: TabulatedPosteriors, arm: int, others: NDArray[np.intp]) -> None:
        self._family = table.families[0]
        self._posterior = self._family.take(np.array([arm]))
        self._center, self._width = float(table.center[arm]), float(table.width[arm])
        lower, upper = (
            np.arcsinh((end - table.center) / table.width) for end in (table.lower, table.upper)
        )
        s = lower[:, None] + (upper - lower)[:, None] * _PANELS
        knots = table.center[:, None] + table.width[:, None] * np.sinh(s)
        self._knots = self._family.values(knots[others]).ravel()
        self._own_knots = s[arm]

    def nodes(self, slope: float, offset: float) -> tuple[FloatArray, FloatArray]:
        """Return masses and means of the arm; bends are those of slope * mean + offset."""
        bends = self._family.coordinates((self._knots - offset) / slope)
        s = np.arcsinh((bends - self._center) / self._width)
        own = self._own_knots
        edges = np.sort(np.concatenate((own, np.clip(s, own[0], own[-1]))))
        edges = edges[np.flatnonzero(np.diff(edges, prepend=-np.inf))]
        half = np.diff(edges)[:, None] / 2.0
        nodes = ((edges[1:] + edges[:-1])[:, None] / 2.0 + half * _NODES).ravel()
        coordinates = self._center + self._width * np.sinh(nodes)
        density = self._posterior.density(coordinates)[0] * np.cosh(nodes) * self._width
        return (half * _WEIGHTS).ravel() * density, self._family.values(coordinates)
