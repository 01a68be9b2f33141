"""Sequences of quantiles, and of the difference of two, which hold at every look.

Whether a unit's value is at most x is 0 or 1, whatever the distribution: a weighted sum of
"1(value <= x) - p" over the units of a variant has the mean 0 where x is its quantile for p, and
increments with a bound. So for every x there is an e-process against "the quantile is x or less",
which grows where too few values are up to x, and one against "it is x or more". A confidence
sequence leaves out the x that they refute.

That quantile a is at most d above quantile b means that there is an x with quantile b = x and
quantile a <= x + d. The units of a and of b move different e-processes, so their product is one:
if it refutes every x, the statement is refuted. Weights that the past decides and base rates that
drift are covered as in means: what is compared are the quantiles of the distributions averaged with
the weights.

Values are known by bin. Of an x within a bin, units up to its end are counted against the first
statement and up to its beginning against the second, so bins make intervals wider, never wrong.

Source: Howard and Ramdas, arXiv 1906.09712, "Sequential estimation of quantiles with applications
    to A/B testing and best-arm identification": section 3 for a fixed quantile, section 5 for two
    samples. The mixture is `log_e_values`, which knows weights, where theirs is of Beta and
    binomial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray
from streams.stats.sequential.confidence_sequences import log_e_values

PLANNED_VALUES = 2_500.0
"""Units with a value of each variant at which the sequences are made narrow."""

IDLE = 0.1
"""Part of every e-value that is never bet. Where an e-process has fallen, its value is unknown and
taken for 0, and this part is left; it costs a tenth of the rest."""

_LEAST = math.log(IDLE)


@dataclass(frozen=True, slots=True, eq=False)
class QuantileSide:
    """Units of variants by the size of their value, each with a weight w known before.

    Attributes:
        ends: Values in ascending order, > 0, the last one above all values; shape (n_pairs,
            n_ends).
        below: Sum of w over the units with a value below each end; of the shape of `ends`.
        below_squared: Sum of w^2, likewise.
        weight: Sum of w over all units with a value; shape (n_pairs,).
        weight_squared: Sum of w^2, likewise.
        heaviest: Largest w of a unit, > 0; likewise.
    """

    ends: FloatArray
    below: FloatArray
    below_squared: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    heaviest: FloatArray

    def take(self, chosen: NDArray[np.bool_] | slice) -> QuantileSide:
        """Return the units of the pairs of a mask or slice."""
        return QuantileSide(*(getattr(self, name)[chosen] for name in self.__slots__))

    def evidence(self, p: float, error: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return logarithms of e-values, at least that of `IDLE`; of the shape of `ends` each.

        Args:
            p: The quantile's probability, in (0, 1).
            error: One-sided error that they are made large for; shape (n_pairs,).

        Returns:
            Against "the quantile is below this end", which fall from end to end, and against "it is
            this end or more", which rise. They are made to: a smaller e-value is one.
        """
        excess = self.below - p * self.weight[:, None]
        rest = np.maximum(self.weight_squared[:, None] - self.below_squared, 0.0)
        squares = p * p * rest + (1.0 - p) ** 2 * self.below_squared
        found = []
        for rise, fall in ((-excess, 1.0 - p), (excess, p)):
            values = log_e_values(
                rise,
                squares,
                np.broadcast_to(fall * self.heaviest[:, None], squares.shape),
                PLANNED_VALUES * p * (1.0 - p) / fall**2,
                error[:, None],
            )
            bet = np.where(rise > 0.0, math.log1p(-IDLE) + values, -np.inf)
            found.append(np.logaddexp(_LEAST, bet))
        below_it = np.minimum.accumulate(found[0], axis=1)
        above_it = np.minimum.accumulate(found[1][:, ::-1], axis=1)[:, ::-1]
        return below_it, above_it

    def interval(self, p: float, error: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ends of the quantile that hold at every look; infinite where nothing is known.

        Args:
            p: The quantile's probability, in (0, 1).
            error: Two-sided error, in (0, 1); shape (n_pairs,).
        """
        below, above = self.evidence(p, error / 2.0)
        needed = -np.log(error / 2.0)[:, None]
        n_below = (below >= needed).sum(axis=1)
        n_above = (above < needed).sum(axis=1)
        padded = np.concatenate(
            [np.zeros_like(needed), self.ends, np.full_like(needed, np.inf)], axis=1
        )
        rows = np.arange(len(padded))
        return padded[rows, n_below], padded[rows, 1 + n_above]


@dataclass(frozen=True, slots=True, eq=False)
class QuantilePair:
    """Two variants of which the quantiles are compared; one entry per pair.

    Attributes:
        p: The quantile's probability, in (0, 1).
        a, b: Their units, with the same number of ends.
    """

    p: float
    a: QuantileSide
    b: QuantileSide

    def take(self, chosen: NDArray[np.bool_] | slice) -> QuantilePair:
        """Return the pairs of a mask or slice."""
        return QuantilePair(self.p, self.a.take(chosen), self.b.take(chosen))

    def reversed(self) -> QuantilePair:
        """Return the pairs the other way round."""
        return QuantilePair(self.p, self.b, self.a)

    def lower(self, error: FloatArray) -> FloatArray:
        """Return lower ends of quantile a minus quantile b; -inf where nothing is known.

        Args:
            error: One-sided error, in (0, 1); shape (n_pairs,).
        """
        below, above = self.a.evidence(self.p, error)[0], self.b.evidence(self.p, error)[1]
        found = [
            _lower(below_a, above_b, needed, ends_a, ends_b)
            for below_a, above_b, needed, ends_a, ends_b in zip(
                below, above, -np.log(error), self.a.ends, self.b.ends, strict=True
            )
        ]
        return np.array(found)

    def p_values(self, error: FloatArray) -> FloatArray:
        """Return always-valid p-values of "quantile a is not above quantile b".

        Args:
            error: Error that they are made sharp for, as in `lower`.
        """
        below, above = self.a.evidence(self.p, error)[0], self.b.evidence(self.p, error)[1]
        found = np.empty(len(below))
        for row, (ends_a, ends_b) in enumerate(zip(self.a.ends, self.b.ends, strict=True)):
            # As in `_lower`: a is not below the end of the bin of x.
            places = np.searchsorted(ends_a, ends_b)
            beyond = np.append(below[row], _LEAST)[places]
            least = (beyond + np.append(_LEAST, above[row][:-1])).min()
            found[row] = np.exp(-min(least, above[row][-1] + _LEAST))
        return np.minimum(found, 1.0)


def _lower(
    below_a: FloatArray, above_b: FloatArray, needed: float, ends_a: FloatArray, ends_b: FloatArray
) -> float:
    """Return the largest d with "quantile a <= x + d" refuted for each quantile x of b.

    Args:
        below_a: Evidence against "quantile a is below the end", falling.
        above_b: Evidence against "quantile b is the end or more", rising.
        needed: Logarithm of one over the error.
        ends_a, ends_b: The ends.
    """
    if above_b[-1] + _LEAST < needed:
        return -np.inf  # b may be above all values
    # For x in a bin of b, units up to its beginning count; before the first bin no unit does.
    rest = needed - np.append(_LEAST, above_b[:-1])
    is_open = rest > _LEAST
    # The last end below which a is not, with the rest of the evidence; 0 is the least value.
    last = np.searchsorted(-below_a, -rest, side="right")
    reached = np.append(0.0, ends_a)[last]
    least = float((reached - ends_b)[is_open].min())
    # At 0, a is not below the end of any bin that b may be in, so a is above b by some amount > 0.
    return least or float(np.finfo(np.float64).tiny)
