"""Level of early stopping within a plan, where bets have declared most leads before.

The bets on the planned rates (`streams.stats.sequential.betting`) and the level of the plan
(`streams.stats.sequential.planned_information`) follow the same sum, a Brownian motion W in the
planned information t. With a drift of d under the planned lift, the logarithm of the bets' wealth
is log(weight) + d W - d^2 t / 2, so that they have found a lead of the error e once W is above the
line

    a + d t / 2,  a = -log(weight e) / d.

It begins below the level c and ends above it. A motion that is at c before both meet, at the time
s, has been above the line; one that comes to c later, at s + u, ever crosses the line with the
probability exp(-d g), where g = d u / 2 is how far it is below. So the level adds the
probability of

- staying below the line up to s: 1 - exp(-2 a (c - w) / s), given W(s) = w < c;
- rising from w to c in what is left of the plan, and never to the line thereafter: P(a motion does)
  - exp(-d (c - w)) P(a motion with the drift d does), by the transform of its time,

integrated over the normal w. That is at most half of its probability. So both together have the
error e + (what is added) with a lower level than if each had a part of the error for itself.

Units that convert once, and may all be there before, make a bridge of the sum, and S / (1 - p) a
Brownian motion in p / (1 - p). In it, the level becomes a line, and the bets' line a concave curve
below the line taken here.

Source: Siegmund (1985), "Sequential analysis", chapter III, for crossings of lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.power import crossing_probability

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_DEEPEST = 9.0  # standard deviations below which a motion is left out
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class BetLine:
    """Bets on planned rates that share the error with early stopping within the plan.

    Attributes:
        drift: Mean of W(1) under the planned lift, > 0.
        weight: Weight of the bets on the planned rates among all bets, in (0, 1].
        times: Error of the bets, in times of that of the level, >= 0.
        is_moving: Whether they follow the same sum under weights that move, too.
    """

    drift: float
    weight: float
    times: float
    is_moving: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.drift < math.inf:
            raise InvalidParameterError("drift", self.drift, "finite and > 0")


def power_beside(
    line: BetLine,
    height: FloatArray,
    error: FloatArray,
    place: FloatArray,
    time: FloatArray,
    end: FloatArray | float,
    drift: FloatArray | float,
) -> FloatArray:
    """Return the probability that the level or the bets' line is crossed by a time in the plan.

    Args:
        line: The bets.
        height: The level c; all arguments broadcast to its shape.
        error: Error of the level; that of the bets follows.
        place: W now.
        time: t now, in [0, 1].
        end: t until when, in [time, 1].
        drift: Drift of W.
    """
    slope = line.drift / 2.0
    start = -np.log(line.weight * np.minimum(line.times * error, 1.0 - _SMALLEST)) / line.drift
    left, above = end - time, height - place
    below = start + slope * time - place
    at_once = (above <= 0.0) | (below <= 0.0)
    # Before they meet the line is the lower of both, and the level is thereafter.
    meet = np.clip((height - start) / slope - time, 0.0, left)
    has_both = (meet > 0.0) & (meet < left) & ~at_once
    by_line = crossing_probability(below, drift - slope, left)
    by_level = crossing_probability(above, drift, left)
    alone = np.where(meet > 0.0, by_line, by_level)
    span = np.where(has_both, meet, 1.0)[..., None]
    root, far = np.sqrt(span), np.where(has_both, above, 1.0)[..., None]
    pull = np.broadcast_to(drift, height.shape)[..., None]
    distance = np.maximum(far - pull * span + _DEEPEST * root, 0.0) * (1.0 - _NODES) / 2.0
    density = np.exp(-0.5 * ((far - distance - pull * span) / root) ** 2)
    stayed = -np.expm1(-2.0 * np.where(has_both, below, 1.0)[..., None] * distance / span)
    rest = np.maximum(np.broadcast_to(left, height.shape)[..., None] - span, 0.0)
    lost = density * stayed * (1.0 - crossing_probability(distance, pull, rest)) * _WEIGHTS
    width = np.maximum(far - pull * span + _DEEPEST * root, 0.0)[..., 0] / 2.0
    survived = lost.sum(axis=-1) * width / (root[..., 0] * math.sqrt(2.0 * math.pi))
    found = np.where(has_both, 1.0 - survived, alone)
    return np.where(at_once, 1.0, np.clip(found, 0.0, 1.0))


def level_alone(height: float, rate: float, line: BetLine, error: float) -> float:
    """Return the probability that a level is crossed within the plan, and the bets' line never.

    Args:
        height: The level c, > 0.
        rate: Planned share of the units that convert, if all may be there before; 0 otherwise.
        line: The bets.
        error: Error of the level; that of the bets follows.
    """
    p = min(rate, 0.5)
    start = -math.log(line.weight * min(line.times * error, 1.0 - _SMALLEST)) / line.drift
    start = max(start, _SMALLEST)
    # Both as lines of a Brownian motion over [0, 1].
    low, low_slope = start * (1.0 - p), start * p + line.drift / (2.0 * (1.0 - p))
    high, high_slope = height * (1.0 - p), height * p
    if low >= high:
        meet, stayed, distance, weights = 0.0, np.ones(1), np.array([high]), np.ones(1)
    elif low_slope <= high_slope or (meet := (high - low) / (low_slope - high_slope)) >= 1.0:
        return 0.0
    else:
        top, root = high + high_slope * meet, math.sqrt(meet)
        width = top + _DEEPEST * root
        distance = width * (1.0 - _NODES) / 2.0
        stayed = -np.expm1(-2.0 * low * distance / meet)
        density = np.exp(-0.5 * ((top - distance) / root) ** 2) / (root * math.sqrt(2.0 * math.pi))
        weights = density * _WEIGHTS * width / 2.0
    rises = crossing_probability(distance, -high_slope, 1.0 - meet)
    later = crossing_probability(distance, 2.0 * low_slope - high_slope, 1.0 - meet)
    later = later * np.exp(-2.0 * low_slope * (distance + max(low - high, 0.0)))
    return float((weights * stayed * np.maximum(rises - later, 0.0)).sum())
