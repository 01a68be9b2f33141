"""Readings of a comparison: ways to bound a lead at every look, each with a separate error.

A reading looks at one side: how much better the first variant is at least, and the p-value of "it
is not better". The other side is the same reading of the reversed contrast, so a two-sided
comparison asks it twice, and a one-sided one once. `streams.stats.sequential.comparison` shares the
error among several readings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.centres import RANGE_EVENTS, BoundedSums, best_centred
from streams.stats.sequential.confidence_sequences import (
    LOOSE_WEIGHT,
    PLANNED_EVENTS,
    PLANNED_UNITS,
    asymptotic_radius,
    asymptotic_tuning,
    bounded_radius,
    error_of_both_sides,
    log_e_values,
    mixture_tuning,
)
from streams.stats.sequential.contrasts import Contrast

_EVENTS = (1.0, 1e9)  # between which the numerics of the bounded sequence are exact
_EARLIEST = 1e-12  # of the time at which a sequence is narrowest


class Reading(ABC):
    """A way to bound a lead at every look.

    Both methods follow one family of boundaries, chosen by `error`: the lower end at `error` is
    above 0 exactly when the p-value, for the same `error`, is below it. So what is decided by the
    one cannot contradict the other.
    """

    @abstractmethod
    def lower(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return lower ends of mean a minus mean b; -inf where nothing is known.

        Args:
            compared: The contrasts.
            error: Probability that an end is ever too high, in (0, 1); of their shape.
        """

    @abstractmethod
    def p_values(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return always-valid p-values of "a is not better than b", in [0, 1].

        They hold at any level; `error` is the one they are made sharp for.

        Args:
            compared: The contrasts.
            error: As for `lower`.
        """

    def read(self, compared: Contrast, error: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return lower ends and p-values, which may have parts in common.

        Args:
            compared: The contrasts.
            error: As for `lower`.
        """
        return self.lower(compared, error), self.p_values(compared, error)


@dataclass(frozen=True, slots=True)
class ConfidenceSequence(Reading):
    """The confidence sequence, which holds at any time: exact for bounded values and quantiles.

    Others are asymptotic: normal mixtures, which count from the common mean of the values.

    Attributes:
        narrowest: Variance of the sum at which it is made narrow (`Contrast.variance`), if some
            is planned; None for a number of events or values that suits most experiments.

    Source: `bounded_radius` and `asymptotic_radius`; for the p-values without a bound, the normal
        mixture of Robbins (1970), the mSPRT of Johari, Pekelis and Walsh, arXiv 1512.04922.
    """

    narrowest: float | None = None

    def __post_init__(self) -> None:
        if self.narrowest is not None and not 0.0 < self.narrowest < np.inf:
            raise InvalidParameterError("narrowest", self.narrowest, "finite and > 0")

    def lower(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the lower ends of the sequence."""
        if compared.quantiles is not None:
            return compared.quantiles.lower(error)
        known = compared.is_known
        if compared.is_bounded:
            # The lower end fails when the sum rises too far above its mean; `bounded_radius` limits
            # rises by the most that one increment can lower the sum.
            sums = bounded_sums(compared, error)
            events = self._events(compared, sums.bounds)
            below = bounded_radius(
                sums.squares,
                sums.bounds,
                sums.share * error,
                events,
                loose_weight=_loose_weight(compared),
            )
            lower = (sums.total - below) / np.where(known, compared.scale, 1.0)
        else:
            clock, narrowest = self._clock(compared)
            # So early that the width would be beyond machine numbers, nothing is known.
            known = known & (clock > _EARLIEST * narrowest)
            clock = np.where(known, clock, 1.0)
            radius = np.sqrt(clock) * asymptotic_radius(
                clock, error_of_both_sides(error), narrowest
            )
            lower = compared.difference - radius * compared.standard_error
        return np.where(known, lower, -np.inf)

    def p_values(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the p-values of the mixture that the sequence inverts."""
        if compared.quantiles is not None:
            return compared.quantiles.p_values(error)
        if compared.is_bounded:
            sums = bounded_sums(compared, error)
            events = self._events(compared, sums.bounds)
            log_e = log_e_values(
                sums.total,
                sums.squares,
                sums.bounds,
                events,
                sums.share * error,
                loose_weight=_loose_weight(compared),
            )
            found = np.minimum(1.0, np.exp(-log_e) / sums.share)
            return np.where(compared.is_known, found, 1.0)
        z = z_values(compared)
        clock, narrowest = self._clock(compared)
        scaled = clock * asymptotic_tuning(error_of_both_sides(error), narrowest)
        two_sided = np.exp(0.5 * (np.log1p(scaled) - z * z * scaled / (scaled + 1.0)))
        is_lead = compared.is_known & (z > 0.0)
        return np.where(is_lead, np.minimum(1.0, 0.5 * two_sided), 1.0)

    def tuning(self, compared: Contrast, bounds: FloatArray, error: FloatArray) -> FloatArray:
        """Return the parameter of the mixture of increments with these bounds (`Mixture`)."""
        events = self._events(compared, bounds)
        return np.asarray(mixture_tuning(error, events) * np.ones_like(bounds))

    def _events(self, compared: Contrast, bounds: FloatArray) -> FloatArray | float:
        """Return the events, in units of the largest increment, at which it is made narrow."""
        if self.narrowest is None:
            return PLANNED_EVENTS if compared.values is None else RANGE_EVENTS
        events = self.narrowest * compared.squares_of_even / (bounds * bounds)
        return np.clip(events, *_EVENTS)

    def _clock(self, compared: Contrast) -> tuple[FloatArray, float]:
        """Return the intrinsic time of the asymptotic sequence, and where it is made narrow."""
        if self.narrowest is None:
            return compared.time, float(PLANNED_UNITS)
        return compared.variance, self.narrowest


def bounded_sums(compared: Contrast, error: FloatArray) -> BoundedSums:
    """Return the sums of bounded increments from the centre that suits them, read at `error`.

    Args:
        compared: The contrasts, bounded.
        error: One-sided error, in (0, 1); of their shape.
    """
    sums = BoundedSums(compared.total, compared.squares, compared.max_decrement, 1.0)
    return best_centred(sums, compared.values, error)


def _loose_weight(compared: Contrast) -> float:
    return 0.0 if compared.values is None else LOOSE_WEIGHT


def z_values(compared: Contrast) -> FloatArray:
    """Return the differences in standard errors; 0 where nothing varies."""
    error = compared.standard_error
    is_known = (error > 0.0) & np.isfinite(error)
    return np.divide(compared.difference, error, out=np.zeros_like(error), where=is_known)
