"""Experiments in numbers: thousands of them at once, each unit assigned and observed.

The weights follow Thompson sampling by a normal approximation of the posterior, and are not rounded
to integers: any weights that the past decides would do, since no guarantee may rest on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from streams.allocation.weights import DEFAULT_FLOOR
from streams.inference.posterior import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_LEAST_PROBABILITY = 1e-9  # of a challenger, so that there always is one


class Weights(StrEnum):
    """How the traffic is shared."""

    EVEN = "even"
    THOMPSON = "thompson"
    TOP_TWO = "top_two"

    @property
    def move(self) -> bool:
        """Whether the shares follow what was observed."""
        return self is not Weights.EVEN


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives, and who gets it.

    Attributes:
        rates: Success rate of each variant, in (0, 1).
        weights: How the traffic is shared.
        looks: How often everything is looked at, and the weights are moved.
        units_per_look: Units between two looks.
        floor: Smallest share of a variant, in (0, 1 / number of variants]; None for the product's
            default.
        swing: Relative amplitude by which all rates swing together, in [0, 1): four times within
            the experiment, as days and weeks do.
    """

    rates: tuple[float, ...]
    weights: Weights = Weights.EVEN
    looks: int = 1_000
    units_per_look: int = 100
    floor: float | None = None
    swing: float = 0.0

    @property
    def least_share(self) -> float:
        """The floor."""
        n_arms = len(self.rates)
        return min(DEFAULT_FLOOR, 0.1 / n_arms) if self.floor is None else self.floor


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """What one interval between two looks brought.

    Attributes:
        shares: Shares during it; shape (repetitions, n_arms).
        units: Units of each variant.
        successes: Those among them with a success.
    """

    shares: FloatArray
    units: FloatArray
    successes: FloatArray


def arrivals(traffic: Traffic, repetitions: int, seed: int) -> Iterator[Arrivals]:
    """Yield what every interval brings to many experiments; the same seed brings the same."""
    random = np.random.default_rng(seed)
    n_arms = len(traffic.rates)
    units, successes = np.zeros((repetitions, n_arms)), np.zeros((repetitions, n_arms))
    rates = np.array(traffic.rates)
    for look in range(traffic.looks):
        shares = _shares(traffic, units, successes)
        phase = math.sin(8.0 * math.pi * look / traffic.looks)
        new = random.multinomial(traffic.units_per_look, shares)
        won = random.binomial(new, rates * (1.0 + traffic.swing * phase))
        units = units + new
        successes = successes + won
        yield Arrivals(shares, new.astype(np.float64), won.astype(np.float64))


def _shares(traffic: Traffic, units: FloatArray, successes: FloatArray) -> FloatArray:
    if not traffic.weights.move:
        return np.full_like(units, 1.0 / units.shape[1])
    shares = _probability_best(units, successes)
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


def _probability_best(units: FloatArray, successes: FloatArray) -> FloatArray:
    mean = (successes + 1.0) / (units + 2.0)
    deviation = np.sqrt(mean * (1.0 - mean) / (units + 3.0))
    probability = np.empty_like(mean)
    for arm in range(mean.shape[1]):
        points = mean[:, arm, None] + deviation[:, arm, None] * _NODES
        below = np.ones_like(points)
        for other in range(mean.shape[1]):
            if other != arm:
                below *= special.ndtr((points - mean[:, other, None]) / deviation[:, other, None])
        probability[:, arm] = (below * _WEIGHTS).sum(axis=1)
    return np.asarray(probability / probability.sum(axis=1, keepdims=True))
