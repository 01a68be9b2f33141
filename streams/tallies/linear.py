"""Sufficient statistics of a linear model: sums of products of integers, only ever added."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from streams.model.vectors import FEATURE_ONE, Vector


@dataclass(frozen=True, slots=True)
class LinearTally:
    """The normal equations of one variant: a matrix of its units, a vector of their rewards.

    Impressions add to the matrix and observations to the vector, like units and values of a plain
    tally. Both extend to the largest index seen; further entries are 0. So they can be counted and
    merged without knowing the declared features.

    Attributes:
        gram: Sum of x x^T over the units, in 1 / FEATURE_ONE squared: the upper triangle by
            columns, entry (i, j) with i <= j at j (j + 1) / 2 + i.
        moment: Sum of x times reward, in 1 / FEATURE_ONE of a micro-unit.
    """

    gram: tuple[int, ...] = ()
    moment: tuple[int, ...] = ()

    def __add__(self, other: LinearTally) -> LinearTally:
        return LinearTally(
            add_entries(self.gram, other.gram), add_entries(self.moment, other.moment)
        )

    def with_intercept(self, units: int, total: int) -> LinearTally:
        """Return the tally of all units of the variant, including those without features.

        The vector of a unit without features is the intercept only. So such units affect only the
        first entry of each part, whose total is known.

        Args:
            units: Units of the variant, with and without features.
            total: Sum of their rewards, in micro-units.
        """
        return LinearTally(
            (units * FEATURE_ONE**2, *self.gram[1:]), (total * FEATURE_ONE, *self.moment[1:])
        )

    def mirrored(self) -> LinearTally:
        """Return the tally with negated rewards, for a metric that should decrease."""
        return LinearTally(self.gram, tuple(-entry for entry in self.moment))


class LinearSums:
    """Builder of a `LinearTally`.

    Args:
        tally: Where to continue from.
    """

    __slots__ = ("_gram", "_moment")

    def __init__(self, tally: LinearTally | None = None) -> None:
        self._gram = list(tally.gram) if tally else []
        self._moment = list(tally.moment) if tally else []

    def add_unit(self, vector: Vector, count: int = 1) -> None:
        """Add a unit that was assigned with this context, or several of them."""
        gram = self._gram
        last = vector[-1][0]
        if len(gram) < triangle(last + 1):
            gram.extend([0] * (triangle(last + 1) - len(gram)))
        for place, (column, value) in enumerate(vector):
            start = triangle(column)
            for row, other in vector[: place + 1]:
                gram[start + row] += value * other * count

    def add_value(self, vector: Vector, value: int) -> None:
        """Add a reward to a unit that was assigned with this context.

        Several rewards of one unit add up, since the moment is linear in them.

        Args:
            vector: Its context, from the receipt.
            value: The reward, in micro-units.
        """
        moment = self._moment
        last = vector[-1][0]
        if len(moment) <= last:
            moment.extend([0] * (last + 1 - len(moment)))
        for index, entry in vector:
            moment[index] += entry * value

    def freeze(self) -> LinearTally:
        """Return the tally of all that was added."""
        return LinearTally(tuple(self._gram), tuple(self._moment))


def triangle(dimension: int) -> int:
    """Return the number of entries of an upper triangle, including the diagonal."""
    return dimension * (dimension + 1) // 2


def diagonal(index: int) -> int:
    """Return the place of entry (index, index) of a `gram`.

    >>> [diagonal(index) for index in range(4)]
    [0, 2, 5, 9]
    """
    return triangle(index) + index


def add_entries(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sums of the entries; missing ones are 0."""
    if not left or not right:
        return left or right
    return tuple(a + b for a, b in zip_longest(left, right, fillvalue=0))
