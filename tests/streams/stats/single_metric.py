"""The lift of one metric, as most laws of it are stated."""

from __future__ import annotations

from streams.stats.bayes.lift import Lift, lifts_vs_control
from streams.stats.direction import Direction
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.base import Posteriors


def lift_vs_control(
    posteriors: Posteriors,
    control: int,
    *,
    direction: Direction = Direction.INCREASE,
    level: float = 0.95,
) -> Lift:
    """Return how every arm compares with the control."""
    table = TabulatedPosteriors.of(posteriors)
    (lift,) = lifts_vs_control(table, control, directions=[direction], level=level)
    return lift
