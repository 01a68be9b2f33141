"""Exact sequences of bounded values, counted from near their mean.

What a bounded sequence pays for are squares, and those of values between 4 and 6 are a hundred
times their variance. The mean of the increments of "a minus b" stays the same when a constant c is
taken from every value, so a sequence may count from any c. The mean itself, known only afterwards,
is no constant. So there is one sequence for each centre of a list that is fixed beforehand, each
with a share of the error: all hold together, and whichever is taken in the end holds too.

That is empirical Bernstein inference with the mean on a grid: with the predictable plug-in instead,
as Waudby-Smith and Ramdas have it, the sums would depend on the order of the units.

The first centre is the least value, for amounts that most units do not have; the others lie at
halves, quarters and so on of the range, each level with as large a share as the one before.

Source: Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240, theorem 4 (empirical Bernstein), of
    which the inequality holds around any predictable centre; its section 3.2 on unions of
    boundaries. Waudby-Smith and Ramdas, arXiv 2010.09686, theorem 2, for the plug-in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray

FIRST_SHARE = 0.75
"""Share of the error that the sequence from the least value has. For amounts that are skew to the
right it is the best one, and they need 0.3 more in the logarithm of the evidence for it."""

LEVELS = 6
"""Levels of other centres: those of the last are a sixty-fourth of the range apart."""

RANGE_EVENTS = 100.0
"""Events, in units of the largest increment, at which sequences of other than binary values are
made narrow. A cap that is ten times the mean of the values, or a hundred times, leaves a winner
fewer of them than conversions would."""


def _grid() -> tuple[FloatArray, FloatArray]:
    """Return the centres, as shares of the range, and the shares of the error."""
    levels = [[0.5, 1.0]] + [
        [odd / 2**level for odd in range(1, 2**level, 2)] for level in range(2, LEVELS + 1)
    ]
    centres = [0.0] + [centre for level in levels for centre in level]
    rest = (1.0 - FIRST_SHARE) / len(levels)
    shares = [FIRST_SHARE] + [rest / len(level) for level in levels for _ in level]
    return np.array(centres), np.array(shares)


CENTRES, SHARES = _grid()


@dataclass(frozen=True, slots=True, eq=False)
class ValueRange:
    """Sums for counting bounded values from another centre; all of the contrasts' shape.

    Attributes:
        offset: Sum of the weights of a minus that of b.
        cross: Sum of w^2 x over the units of both, x >= 0 being counted from the least value.
        weight_squared: Sum of w^2 over them.
        heaviest_a, heaviest_b: Largest weight of a unit.
        most_a, most_b: Largest value.
    """

    offset: FloatArray
    cross: FloatArray
    weight_squared: FloatArray
    heaviest_a: FloatArray
    heaviest_b: FloatArray
    most_a: FloatArray
    most_b: FloatArray

    def take(self, chosen: NDArray[np.bool_] | slice) -> ValueRange:
        """Return the ranges of a mask or slice; shape (n_chosen,)."""
        return ValueRange(*(getattr(self, name)[chosen] for name in self.__slots__))

    def stack(self, other: ValueRange) -> ValueRange:
        """Return these ranges and others along a new first axis."""
        names = self.__slots__
        return ValueRange(*(np.array([getattr(self, n), getattr(other, n)]) for n in names))

    def reversed(self) -> ValueRange:
        """Return the ranges of "b minus a"."""
        return ValueRange(
            -self.offset,
            self.cross,
            self.weight_squared,
            self.heaviest_b,
            self.heaviest_a,
            self.most_b,
            self.most_a,
        )


@dataclass(frozen=True, slots=True, eq=False)
class BoundedSums:
    """Sums of bounded increments of "a minus b", and the share of the error they have.

    Attributes:
        total: Sum of the increments.
        squares: Sum of their squares.
        bounds: Most by which one increment can lower the sum, > 0.
        share: Share of the error, in (0, 1].
    """

    total: FloatArray
    squares: FloatArray
    bounds: FloatArray
    share: FloatArray | float


def best_centred(sums: BoundedSums, values: ValueRange | None, error: FloatArray) -> BoundedSums:
    """Return the sums from the centre that promises the highest lower end.

    Args:
        sums: Sums from the least value, with all of the error.
        values: Range of the values; None to count from the least one alone.
        error: One-sided error that the sequence will be compared with; of their shape.
    """
    if values is None:
        return sums
    shape = (-1,) + (1,) * np.ndim(sums.total)
    share = SHARES.reshape(shape)
    centre = CENTRES.reshape(shape) * np.maximum(values.most_a, values.most_b)
    total = sums.total - centre * values.offset
    squares = np.maximum(
        sums.squares - centre * (2.0 * values.cross - centre * values.weight_squared), 0.0
    )
    falls = values.heaviest_b * (values.most_b - centre), values.heaviest_a * centre
    bounds = np.maximum(np.maximum(*falls), np.where(centre > 0.0, 0.0, sums.bounds))
    # Near enough to the radius to choose by; any choice is valid.
    evidence = -np.log(share * error)
    ends = total - np.sqrt(2.0 * squares * (evidence + 2.0)) - 0.5 * bounds * evidence
    best = ends.argmax(axis=0)[None]
    total, squares, bounds = (
        np.take_along_axis(each, best, axis=0)[0] for each in (total, squares, bounds)
    )
    return BoundedSums(total, squares, bounds, SHARES[best[0]])
