"""Experiments whose units come at once and whose values come late, as those of users do.

Nothing is lost and nothing differs between the variants: only time passes between a unit and what
it does. A sequential design that measures progress in units keeps testing after its error is spent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.amounts import Amounts
from benchmarks.simulation.traffic import Arrivals
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.stats.arrays import FloatArray
from streams.tallies.cell import MetricTally, Tally
from streams.tallies.weights import weighted

METRIC = "purchases"
_ARMS = 2

RETURNED_AFTER = 5
"""Looks after which amounts are paid back, if they are."""


@dataclass(frozen=True, slots=True)
class Late:
    """Units that are all there on the first day.

    Attributes:
        units: Units of each of two variants.
        daily_rate: Conversions of a unit a day.
        days: Days.
        looks_a_day: Looks of a day.
        amounts: What a conversion brings; None for 1.
        returned: Share of the amounts that are paid back, `RETURNED_AFTER` looks later.
    """

    units: int
    daily_rate: float
    days: int = 60
    looks_a_day: int = 1
    amounts: Amounts | None = None
    returned: float = 0.0

    @property
    def looks(self) -> int:
        """All looks."""
        return self.days * self.looks_a_day


def late_conversions(late: Late, repetitions: int, seed: int) -> Iterator[Arrivals]:
    """Yield what every look brings to many experiments: all units first, and then conversions.

    A unit converts once at most.
    """
    random = np.random.default_rng(seed)
    shape = (repetitions, _ARMS)
    waiting = np.full(shape, late.units)
    shares = np.full(shape, 1.0 / _ARMS)
    units: FloatArray = waiting.astype(np.float64)
    to_return: deque[FloatArray] = deque([np.zeros((3, *shape))] * RETURNED_AFTER)
    for _ in range(late.looks):
        new = random.binomial(waiting, late.daily_rate / late.looks_a_day)
        waiting = waiting - new
        ones = new.astype(np.float64)
        if not late.returned:
            sums = _values(random, new, late.amounts)
        else:
            back = random.binomial(new, late.returned)
            to_return.append(_values(random, back, late.amounts))
            sums = _values(random, new - back, late.amounts) + to_return[-1] - to_return.popleft()
        yield Arrivals(shares, units, ones, *sums)
        units = np.zeros(shape)


def _values(
    random: np.random.Generator, new: NDArray[np.int64], amounts: Amounts | None
) -> FloatArray:
    """Return the sums of what conversions bring, of its squares and of its cubes, along axis 0."""
    if amounts is None:
        return np.array([new] * 3, dtype=np.float64)
    place = np.repeat(np.arange(new.size), new.ravel())
    values = amounts.draw(random, len(place))
    sums = np.empty((3, new.size))
    for power in range(3):
        sums[power] = np.bincount(place, values ** (power + 1), new.size)
    return sums.reshape(3, *new.shape)


class LateCounts:
    """Counts of units that are all there at the first look, and then continue."""

    def __init__(self, late: Late) -> None:
        self._late = late
        self._counts: list[NDArray[np.int64]] = []

    def tally_after(
        self,
        look: int,
        assigned: NDArray[np.int64],
        weights: Sequence[int],
        generator: np.random.Generator,
    ) -> Tally:
        """Return the tally after another interval of a look."""
        if look == 0:
            self._counts = [np.zeros(count, np.int64) for count in assigned.tolist()]
        rate = self._late.daily_rate / self._late.looks_a_day
        variants = {}
        for index, (counts, weight) in enumerate(zip(self._counts, weights, strict=True)):
            np.add(counts, generator.poisson(rate, len(counts)), out=counts)
            first, second, third = (int((counts**power).sum()) for power in (1, 2, 3))
            metric = MetricTally(
                units=int((counts > 0).sum()),
                observations=first,
                total=first * MICRO,
                total_squared=second * MICRO**2,
                total_cubed=third * MICRO**3,
            )
            variants[index] = weighted(
                len(counts), {METRIC: metric}, weight * PROPENSITY_PER_WEIGHT
            )
        return Tally(variants=variants)
