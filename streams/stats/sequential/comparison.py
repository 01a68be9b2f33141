"""Intervals and p-values for the comparison of two variants that hold at every look.

A comparison has one or several *readings* (`streams.stats.sequential.readings`), each with a share
of the error. A lead is found when one of them finds it at its share: intervals are intersected, and
the p-value is the smallest over its share. Both follow the same boundaries, so that an interval
excludes 0 exactly when the p-value is below the error.

- The confidence sequence (`ConfidenceSequence`) holds at any time; of rates, as one process with
  bets on conversions (`ConversionBets`).
- If an information was planned, most of the error is spent on early stopping within it
  (`PlannedInformation`), and the sequence is made narrow where the plan has long been over.
- If a rate was planned, bets on the planned rates have most of the error, and early stopping within
  the plan what it adds to them (`streams.stats.sequential.beside_bets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.alternative import Alternative
from streams.stats.arrays import FloatArray, all_of
from streams.stats.sequential.beside_bets import BetLine
from streams.stats.sequential.betting import PLANNED_WEIGHT, ConversionBets, PlannedRates
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.planned_information import PlannedInformation
from streams.stats.sequential.readings import ConfidenceSequence, Reading

PLANNED_SHARE = 0.98
"""Share of the error that early stopping within a plan has, when there is one. The sequence costs
little when its part is small: a fiftieth is worth 3.9 in the logarithm of the evidence."""

BETS_SHARE = 0.3
"""Share of the error that bets on planned rates have beside early stopping within the plan. Of
10 % against 11 %, 20,000 units a variant planned, it costs half a point of the power at the end;
5 % against 4 %, 6,745 planned, is declared after 13,800 units on average instead of 16,100."""

AMPLE_SHARE = 0.9
"""Share of the error that bets have if the plan is ample."""

AMPLE_DRIFTS = (3.3, 3.9)
"""Means of z at the end of a plan from which on it becomes ample, and is: a fixed test would find
the planned lift with 91 and 97 %. In between, the share rises evenly."""

NARROWEST = 3.0
"""Times of the planned information at which the sequence beside a plan is made narrowest."""

TUNED_ERROR = 0.05
"""Two-sided error that p-values are made sharp for, where nothing is decided by them."""


@dataclass(frozen=True, slots=True)
class ReadingShare:
    """A reading and its share of the error.

    Attributes:
        reading: The reading.
        share: Its share, in (0, 1].
    """

    reading: Reading
    share: float


Readings = Sequence[ReadingShare]
"""Readings of one comparison; the shares sum to 1. The first takes precedence when they have no
point in common."""

UNPLANNED: Readings = (ReadingShare(ConfidenceSequence(), 1.0),)
"""Readings of a comparison that decides nothing: the sequence alone, which is quick to compute."""

UNPLANNED_RATES: Readings = (ReadingShare(ConversionBets(), 1.0),)
"""Readings of a comparison that decides, without a plan."""


def planned_readings(
    planned: PlannedInformation, rates: PlannedRates | None = None, drift: float = 0.0
) -> Readings:
    """Return the readings of a comparison with a planned information.

    Args:
        planned: The planned information.
        rates: The planned rates, if there are bets on them.
        drift: Mean of z at the planned end, if the planned lift is there.
    """
    sequence = ConfidenceSequence(NARROWEST * planned.variance)
    if rates is None:
        return (ReadingShare(sequence, 1.0 - PLANNED_SHARE), ReadingShare(planned, PLANNED_SHARE))
    share = float(np.interp(drift, AMPLE_DRIFTS, (BETS_SHARE, AMPLE_SHARE)))
    is_moving = len(rates.centres(is_fixed=False)) == 1
    line = BetLine(drift, PLANNED_WEIGHT, share / (1.0 - share), is_moving)
    beside = replace(planned, beside=line)
    return (ReadingShare(ConversionBets(rates, sequence), share), ReadingShare(beside, 1.0 - share))


def unplanned_readings(rates: PlannedRates | None) -> Readings:
    """Return the readings of a comparison that decides, with a plan too small to stop by.

    Args:
        rates: The planned rates, if the metric is one.
    """
    return (ReadingShare(ConversionBets(rates), 1.0),)


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Ends of several intervals; infinite where nothing is known."""

    lower: FloatArray
    upper: FloatArray


def intervals(
    compared: Contrast, alpha: float | FloatArray, readings: Readings = UNPLANNED
) -> Intervals:
    """Return where mean a minus mean b lies, at every look at once.

    When the difference drifts, what is covered is its average with the weights h; when h is
    estimated, too (`overlap_contrast`), the ends are as exact as that, and their signs are exact.

    Args:
        compared: The contrasts.
        alpha: Two-sided error, in (0, 1): the probability that an interval ever misses. One for
            all, or one for each.
        readings: How the comparison is read.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    return both_sides(compared, _one_side(compared, alpha), readings).intervals


def p_values(
    compared: Contrast, alpha: float | FloatArray = TUNED_ERROR, readings: Readings = UNPLANNED
) -> FloatArray:
    """Return always-valid two-sided p-values of "there is no difference".

    Without a difference, the probability that one is ever at most p is at most p.

    Args:
        compared: The contrasts.
        alpha: Two-sided error that they are compared with, in (0, 1): there, they agree with
            `intervals` to the last bit of the boundary. They are valid at any other.
        readings: How the comparison is read.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    if len(readings) > 1:
        return both_sides(compared, _one_side(compared, alpha), readings).two_sided
    sides, error = _sides(compared, _one_side(compared, alpha))
    found = np.array([lead_p_values(each, error, readings) for each in sides])
    one_sided: FloatArray = found.reshape(2, *compared.total.shape).min(axis=0)
    return np.minimum(2.0 * one_sided, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class BothSides:
    """Intervals and always-valid p-values, which have much in common.

    Attributes:
        intervals: Ends, each of which has the error.
        above: P-values of "mean a is not above mean b".
        below: P-values of "mean a is not below mean b".
    """

    intervals: Intervals
    above: FloatArray
    below: FloatArray

    @property
    def two_sided(self) -> FloatArray:
        """P-values of "there is no difference"."""
        return np.minimum(2.0 * np.minimum(self.above, self.below), 1.0)


def both_sides(compared: Contrast, error: FloatArray, readings: Readings) -> BothSides:
    """Return ends and p-values of either side.

    Args:
        compared: The contrasts.
        error: Error of one side, in (0, 1); of their shape.
        readings: How the comparison is read.
    """
    ends, found = _read(compared, error, readings)
    all_ends, all_found = np.maximum.reduce(ends), np.minimum.reduce(found)
    agree = all_ends[0] <= -all_ends[1]
    # Where they have no point in common one of them has failed; the wider claim is left.
    lower, upper = np.where(agree, all_ends, ends[0])
    above, below = np.minimum(np.where(agree, all_found, found[0]), 1.0)
    # A sequence alone that rules out every value has failed, too; its ends are ordered.
    ordered = Intervals(np.minimum(lower, -upper), np.maximum(lower, -upper))
    return BothSides(ordered, above, below)


def lead_p_values(compared: Contrast, error: FloatArray, readings: Readings) -> FloatArray:
    """Return always-valid p-values of "a is not better than b", by all readings together.

    Args:
        compared: The contrasts.
        error: One-sided error that they are compared with, in (0, 1); of their shape.
        readings: How the comparison is read.
    """
    found = [each.reading.p_values(compared, each.share * error) / each.share for each in readings]
    return np.where(compared.has_lower, np.minimum(np.minimum.reduce(found), 1.0), 1.0)


def pairwise_error(
    alpha: float,
    n_arms: int,
    *,
    with_control: bool = True,
    alternative: Alternative = Alternative.TWO_SIDED,
) -> float:
    """Return the error of each interval, so that a wrong winner has the error `alpha`.

    A variant is declared when its intervals against all others lie above 0. Take any best variant
    b, the control if it is one of them. A wrong variant is declared only if its interval against b
    fails at its lower end, or, when b itself is declared beside an equal b', that of b against b'.
    Among K variants, that is

    - if b is the control, one failure of K of its comparisons at most;
    - if not, one of the control against b, or one of K - 1 without the control.

    With alpha / (2 (K - 1)) on each side of a comparison with the control, as Bonferroni leaves it,
    the others may have alpha (2 K - 3) / (2 (K - 1)^2): more than the control's have. So a winner's
    p-value against the control is below alpha also when it is corrected for all K - 1 of them.

    If the control is never declared, a wrong winner is one of K - 1 failures at most in either
    case: K - 1 variants against the control or, against another b, K - 2 and b itself. So each side
    may have alpha / (K - 1), and there are no other sides.

    Args:
        alpha: Probability of ever declaring a wrong winner, in (0, 1).
        n_arms: Number of variants, K >= 2.
        with_control: Whether the comparison is one with the control.
        alternative: Whether the control may be declared (`TWO_SIDED`: the error is that of both
            sides) or not (`BETTER`: of each side).

    Raises:
        InvalidParameterError: `alpha` is outside (0, 1), or there are fewer than two variants.

    Examples:
        >>> pairwise_error(0.05, 2)
        0.05
        >>> round(pairwise_error(0.05, 5), 5), round(pairwise_error(0.05, 5, with_control=False), 5)
        (0.0125, 0.02188)
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    if n_arms < 2:  # noqa: PLR2004  # it takes two to compare
        raise InvalidParameterError("n_arms", n_arms, ">= 2")
    comparisons = n_arms - 1
    if with_control or alternative is Alternative.BETTER:
        return alpha / comparisons
    return alpha * (2.0 * comparisons - 1.0) / comparisons**2


def _read(
    compared: Contrast, error: FloatArray, readings: Readings
) -> tuple[FloatArray, FloatArray]:
    """Return lower ends and one-sided p-values by reading and side; shape (n_readings, 2, ...)."""
    sides, error = _sides(compared, error)
    ends, found = [], []
    for each in readings:
        read = [each.reading.read(side, each.share * error) for side in sides]
        known = [side.has_lower for side in sides]
        # Without enough units to have seen its tails, a normal approximation gives no end.
        lower = [np.where(*at, -np.inf) for at in zip(known, (low for low, _ in read), strict=True)]
        p = [
            np.where(*at, 1.0) for at in zip(known, (p / each.share for _, p in read), strict=True)
        ]
        ends.append(np.array(lower).reshape(2, *compared.total.shape))
        found.append(np.array(p).reshape(2, *compared.total.shape))
    return np.array(ends), np.array(found)


def _sides(compared: Contrast, error: FloatArray) -> tuple[list[Contrast], FloatArray]:
    """Return both sides of contrasts, together if they can be, and the error of either.

    For a few numbers the cost of numpy is that of its calls, so one call replaces two.
    """
    sides = [compared, compared.reversed()]
    if compared.quantiles is not None:
        return sides, error
    return [Contrast.stack(*sides)], np.array([error, error])


def _one_side(compared: Contrast, alpha: float | FloatArray) -> FloatArray:
    errors = np.asarray(alpha, dtype=np.float64)
    if not all_of((errors > 0.0) & (errors < 1.0)):
        raise InvalidParameterError("alpha", errors.tolist(), "in (0, 1)")
    return errors / 2.0 + np.zeros(compared.total.shape)
