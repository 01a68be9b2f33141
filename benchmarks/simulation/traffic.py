"""Experiments in numbers: thousands of them at once, each unit assigned and observed.

The weights follow Thompson sampling by a normal approximation of the posterior, and are not rounded
to integers: any weights that the past decides would do, since no guarantee may depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulation.amounts import Amounts
from benchmarks.simulation.winsorized import Winsorized
from streams.policies.weights import DEFAULT_FLOOR
from streams.stats.arrays import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_LEAST_VARIANCE = 1e-12
_LEAST_PROBABILITY = 1e-9  # of a challenger, so that there always is one


class Weights(StrEnum):
    """Allocation of the traffic."""

    EVEN = "even"
    THOMPSON = "thompson"
    TOP_TWO = "top_two"
    TURN = "turn"
    """Even in the first half of the looks, then of the first variant but for the floor: what holds
    for every policy holds for this one."""

    @property
    def move(self) -> bool:
        """Whether the shares follow what was observed."""
        return self is not Weights.EVEN


@dataclass(frozen=True, slots=True)
class Traffic:
    """Arriving units and their variants.

    Attributes:
        rates: Success rate of each variant, in (0, 1).
        weights: How the traffic is shared.
        looks: How often everything is looked at, and the weights are moved.
        units_per_look: Units between two looks.
        floor: Smallest share of a variant, in (0, 1 / number of variants]; None for the product's
            default.
        swing: Relative amplitude by which all rates swing together, in [0, 1): four times within
            the experiment, as days and weeks do.
        later: Factor on all rates in the second half of the looks.
        amounts: None if a success counts 1; otherwise what it counts in each variant.
        cap: Largest amount, which is declared; None for no cap.
        winsorize: Percentile at which amounts are capped, under even shares alone; None without
            one.
    """

    rates: tuple[float, ...]
    weights: Weights = Weights.EVEN
    looks: int = 1_000
    units_per_look: int = 100
    floor: float | None = None
    swing: float = 0.0
    later: float = 1.0
    amounts: tuple[Amounts, ...] | None = None
    cap: float | None = None
    winsorize: float | None = None

    @property
    def least_share(self) -> float:
        """The floor."""
        n_arms = len(self.rates)
        return min(DEFAULT_FLOOR, 0.1 / n_arms) if self.floor is None else self.floor


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Units and values of one interval between two looks.

    Attributes:
        shares: Shares during it; shape (repetitions, n_arms).
        units: Units of each variant.
        with_value: Those among them with a success.
        total: Sum of their values.
        total_squared: Sum of the squares.
        total_cubed: Sum of the cubes.
        cap: Largest value that counts from now on, in all of what came; shape (repetitions,). None
            for that of the traffic.
    """

    shares: FloatArray
    units: FloatArray
    with_value: FloatArray
    total: FloatArray
    total_squared: FloatArray
    total_cubed: FloatArray
    cap: FloatArray | None = None


def arrivals(traffic: Traffic, repetitions: int, seed: int) -> Iterator[Arrivals]:
    """Yield what every interval brings to many experiments; the same seed brings the same."""
    random = np.random.default_rng(seed)
    shape = (repetitions, len(traffic.rates))
    units, total, squared = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    rates = np.array(traffic.rates)
    capped = None if traffic.winsorize is None else Winsorized(shape, traffic.winsorize)
    for look in range(traffic.looks):
        is_later = 2 * look >= traffic.looks
        shares = _shares(traffic, units, total, squared, is_later=is_later)
        phase = math.sin(8.0 * math.pi * look / traffic.looks)
        counts = random.multinomial(traffic.units_per_look, shares)
        factor = traffic.later if is_later else 1.0
        won = random.binomial(counts, rates * (factor * (1.0 + traffic.swing * phase)))
        sums = _values(random, won, traffic, capped)
        units, total, squared = units + counts, total + sums[0], squared + sums[1]
        yield Arrivals(
            shares,
            counts.astype(np.float64),
            won.astype(np.float64),
            *sums,
            cap=None if capped is None else capped.cap,
        )


def _values(
    random: np.random.Generator,
    won: NDArray[np.int64],
    traffic: Traffic,
    capped: Winsorized | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the sums of the values of the successes, of their squares and of their cubes."""
    if traffic.amounts is None:
        ones = won.astype(np.float64)
        return ones, ones, ones
    sums = np.empty((3, *won.shape))
    for variant, each in enumerate(traffic.amounts):
        counts = won[:, variant]
        place = np.repeat(np.arange(len(counts)), counts)
        values = each.draw(random, len(place))
        if traffic.cap is not None:
            values = np.minimum(values, traffic.cap)
        if capped is not None:
            capped.add(variant, place, values)
        for power in range(3):
            sums[power, :, variant] = np.bincount(place, values ** (power + 1), len(counts))
    if capped is not None:
        sums = capped.change()
    return sums[0], sums[1], sums[2]


def _shares(
    traffic: Traffic,
    units: FloatArray,
    total: FloatArray,
    squared: FloatArray,
    *,
    is_later: bool,
) -> FloatArray:
    if not traffic.weights.move or (traffic.weights is Weights.TURN and not is_later):
        return np.full_like(units, 1.0 / units.shape[1])
    if traffic.weights is Weights.TURN:
        shares = np.zeros_like(units)
        shares[:, 0] = 1.0
    else:
        shares = _probability_best(units, total, squared)
    if traffic.weights is Weights.TOP_TWO:
        # Russo (2016), equation 4 with beta = 1/2: the best half of the time, and as often the
        # best of the others.
        shares = np.maximum(shares, _LEAST_PROBABILITY)
        others = shares.sum(axis=1, keepdims=True) - shares
        odds = shares / others
        shares = shares * (0.5 + 0.5 * (odds.sum(axis=1, keepdims=True) - odds))
        shares /= shares.sum(axis=1, keepdims=True)
    least = traffic.least_share
    return np.asarray(least + (1.0 - units.shape[1] * least) * shares)


def _probability_best(units: FloatArray, total: FloatArray, squared: FloatArray) -> FloatArray:
    mean = (total + 1.0) / (units + 2.0)  # of 0 and 1: mean and variance of Beta(1 + s, 1 + n - s)
    variance = np.maximum((squared + 1.0) / (units + 2.0) - mean * mean, _LEAST_VARIANCE)
    deviation = np.sqrt(variance / (units + 3.0))
    probability = np.empty_like(mean)
    for arm in range(mean.shape[1]):
        points = mean[:, arm, None] + deviation[:, arm, None] * _NODES
        below = np.ones_like(points)
        for other in range(mean.shape[1]):
            if other != arm:
                below *= special.ndtr((points - mean[:, other, None]) / deviation[:, other, None])
        probability[:, arm] = (below * _WEIGHTS).sum(axis=1)
    return np.asarray(probability / probability.sum(axis=1, keepdims=True))
