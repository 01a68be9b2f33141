"""Betting on conversions: an e-process for a lead of one rate over another, at every look.

For values x of 0 and 1, and the weights w = h / p of `streams.stats.sequential.contrasts`, the
increments of a unit of a and of a unit of b,

    D = w (x - c_a)    and    D = -w (x - c_b),

have the mean h (rate a - rate b - (c_a - c_b)) given the past, whatever the rates are and however
they drift together, and for any weights that the past decides. So with constants c_a - c_b = d and
0 < l < 1 / max(-D), the wealth of someone who always bets the same part of it,

    E = product of 1 + l D,

is a martingale if the lead is d, and shrinks if it is less: it ever exceeds 1 / alpha with
probability alpha at most (Ville). If the lead drifts, with an average (by the weights h) of d at
most, E is still below a martingale, since 1 + m <= exp(m) for the means m of the bets. An average
of such processes is one, so several bets share an error as weights that sum to 1, not as parts of
it.

With c = 0 only conversions count. Given a conversion of either variant under a fixed share q of a,
it is of a with probability q; then l = (r - 1) / (1 + (r - 1) q) makes the factors r / (1 + (r - 1)
q) and 1 / (1 + (r - 1) q), the likelihood ratio of "rate a = r times rate b". With c = 1 only
units without a conversion count, which carry the information where most convert: of rates of 92
and 90 % those differ by a quarter. A centre near both rates uses either kind of unit for what it
is worth.

**Late conversions.** With c = 0 and a fixed share it does not matter when conversions come: if the
variant does not change when a unit converts, the variants of the converted units are independent
draws, in any order. Every unit counts at its first conversion, once. With c > 0, a unit that will
convert counts as one that does not until it does. Those units are of either variant alike, so E has
the mean 1 at every look, but it is no martingale while they change; the effect on the error was
measured: none at rates up to 50 %, and at 90 % under weights that move the centre is not between
the rates for that reason (`centres`). Under weights that move, a conversion to come has already
moved them as a unit without one; its variant is then known in part, which no weighting undoes, and
what it costs is calibrated too. Where only units count whose window is over, all of it is exact.

**Sums of logarithms.** The sum of log(1 + k w) over units needs every w; tallies hold their count
N and the sums S1 of w and S2 of w^2, for a weight of at most W. E is replaced by the least value it
can have given these (Chebyshev, Markov and Krein): the third derivative in w has the sign of k, so
the least sum has all units in two places,

- for k > 0: at 0 and at S2 / S1, which gives S1^2 / S2 log(1 + k S2 / S1);
- for k < 0: at W and at (W m1 - m2) / (W - m1), with the means m1 and m2 of w and w^2.

Under a fixed share all w are equal and the bound is exact; under Thompson sampling with a floor of
1/4 it costs 2 % of the units. It is a function of integers, whatever bet is asked for afterwards.

Sources: Waudby-Smith and Ramdas, arXiv 2010.09686, for betting; Gruenwald, de Heide and Koolen,
    arXiv 1906.07801, and Turner, Ly and Gruenwald, arXiv 2106.02693, for planned alternatives and
    two variants; Lindon and Malek, arXiv 2011.03567, for conversions given their number; Krein and
    Nudelman (1977), "The Markov moment problem and extremal problems", chapter III, for the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, any_of
from streams.stats.sequential.confidence_sequences import Mixture
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.conversions import ConversionPair, Conversions
from streams.stats.sequential.readings import ConfidenceSequence, Reading

GRID = (1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
"""Ratios of rates that are bet on where none is planned."""

PLANNED_WEIGHT = 0.95
"""Weight of the bets on the planned rates, where there are any."""

UNCONVERTED_WEIGHT = 0.1
"""Part of the other bets that is on units without a conversion: 92 against 90 % is declared after
11,400 units on average, and where few convert that part costs 2 % more units."""

_GRID_PART = 0.7  # of the bets without a plan; the rest is a mixture for leads of any size
_GRID_RISES = np.array(GRID) - 1.0
_GRID_CENTRES = (0.0,) * len(GRID) + (1.0,) * len(GRID)
_GRID_WEIGHTS = tuple(
    _GRID_PART * part / len(GRID)
    for part in (1.0 - UNCONVERTED_WEIGHT, UNCONVERTED_WEIGHT)
    for _ in GRID
)
_CENTRED_UP_TO = 0.25  # rates up to which bets may be centred under weights that move
_LARGEST_LOSS = 0.95  # of the wealth, by one unit
_EVEN = 0.5
_FAR = 2.2  # where a search begins, in standard errors over the root of log(1 / error)
_MAX_STEPS = 40
_TOLERANCE = 0.01  # of the distance from the end to the estimate
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PlannedRates:
    """Two rates that an experiment is planned for; which variant has which is open.

    Attributes:
        lower, upper: The rates, 0 < lower < upper < 1.

    Raises:
        InvalidParameterError: they are not.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not 0.0 < self.lower < self.upper < 1.0:
            raise InvalidParameterError("rates", (self.lower, self.upper), "increasing in (0, 1)")

    @property
    def middle(self) -> float:
        """The rate between them."""
        return (self.lower + self.upper) / 2.0

    def centres(self, *, is_fixed: bool) -> tuple[float, ...]:
        """Return the centres of the bets on these rates, which share their weight evenly.

        Args:
            is_fixed: Whether the shares of the variants never moved.
        """
        if is_fixed or self.middle <= _CENTRED_UP_TO:
            return (self.middle,)
        return 0.0, 1.0

    def bet(self, centre: float, share: FloatArray) -> FloatArray:
        """Return the bet l that makes wealth grow fastest, to second order, if a has `upper`.

        Args:
            centre: c, in [0, 1].
            share: Share of a among both, in (0, 1).
        """

        def square(rate: float) -> float:
            return rate * (1.0 - centre) ** 2 + (1.0 - rate) * centre**2

        mean = self.upper - self.lower
        found: FloatArray = mean / ((1.0 - share) * square(self.upper) + share * square(self.lower))
        return found


@dataclass(frozen=True, slots=True)
class ConversionBets(Reading):
    """Bets on conversions, beside the exact confidence sequence, as one e-process.

    Contrasts of values other than 0 and 1 are read by the sequence alone.

    Attributes:
        planned: Rates to bet on; None if none are planned.
        sequence: The confidence sequence.
    """

    planned: PlannedRates | None = None
    sequence: ConfidenceSequence = field(default_factory=ConfidenceSequence)

    def lower(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the lower ends: the largest lead at which E is still 1 / error."""
        if compared.conversions is None:
            return self.sequence.lower(compared, error)
        return self.read(compared, error)[0]

    def p_values(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return 1 / E of no lead."""
        if compared.conversions is None:
            return self.sequence.p_values(compared, error)
        wealth = _Wealth(self, compared, compared.conversions, error)
        return _p_values(compared, wealth.log(np.zeros_like(compared.total)))

    def read(self, compared: Contrast, error: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return lower ends and p-values; the search for an end begins at no lead."""
        if compared.conversions is None:
            return self.sequence.read(compared, error)
        wealth = _Wealth(self, compared, compared.conversions, error)
        at_zero = wealth.log(np.zeros_like(compared.total))
        ends = np.where(compared.is_known, _ends(wealth, error, at_zero), -np.inf)
        return ends, _p_values(compared, at_zero)


def _p_values(compared: Contrast, log_wealth: FloatArray) -> FloatArray:
    return np.where(compared.is_known, np.exp(-np.maximum(log_wealth, 0.0)), 1.0)


class _Sums(NamedTuple):
    """Places of the weights of some units that make a sum of log(1 + k w) least.

    Attributes:
        many, at: Number of units away from 0, and their weight; for k > 0 all others are at 0.
        outer, outer_at: Number of units at the largest weight, and that weight; 0 units if k > 0.
    """

    many: FloatArray
    at: FloatArray
    outer: FloatArray
    outer_at: FloatArray

    @classmethod
    def gained(cls, units: Conversions) -> _Sums:
        """Return the places for the converted units and k > 0."""
        first, second = units.total, units.total_squared
        some = (first > 0.0) & (second > 0.0)
        second = np.where(some, second, 1.0)
        at = np.divide(second, first, out=np.ones(first.shape), where=some)
        many = np.where(some, first * first / second, 0.0)
        return cls(many, at, np.zeros(first.shape), np.ones(first.shape))

    @classmethod
    def lost(cls, units: Conversions) -> _Sums:
        """Return the places for the converted units and k < 0."""
        n, first, second = units.converted, units.total, units.total_squared
        some = (n > 0.0) & (first > 0.0) & (second > 0.0)
        n, first, second = (np.where(some, each, 1.0) for each in (n, first, second))
        largest = np.where(some, units.largest, 2.0)
        mean = np.minimum(first / n, largest)  # more is rounding, or of sums that do not agree
        # Of weights that are all equal these differences are 0, but for rounding.
        spread = np.maximum(second / n - mean * mean, 0.0)
        spread = np.where(spread > _ROUNDING * mean * mean, spread, 0.0)
        gap = largest - mean
        is_inside = gap > _ROUNDING * largest
        gap = np.where(is_inside, gap, 1.0)
        part = np.where(is_inside, spread / (gap * gap + spread), 0.0)
        n = np.where(some, n, 0.0)
        inner_at = np.where(is_inside, np.maximum(mean - spread / gap, 0.0), mean)
        # Without units, the point must be one at which the logarithm of a bet exists.
        inner_at, largest = (np.where(some, each, 0.0) for each in (inner_at, largest))
        return cls(n * (1.0 - part), inner_at, n * part, largest)

    def beside(self, other: _Sums) -> _Sums:
        """Return both, one after the other along the first axis."""
        return _Sums(*map(np.concatenate, zip(self, other, strict=True)))

    def least(self, k: FloatArray) -> FloatArray:
        """Return the least sums of log(1 + k w), k w > -1; k has the sign of the places."""
        found = self.many * np.log1p(k * self.at)
        if any_of(self.outer):
            found += self.outer * np.log1p(k * self.outer_at)
        return found


class _Wealth:
    """Logarithm of E as a function of the lead that it tests.

    Args:
        reading: The bets.
        compared: The contrasts.
        pair: Their conversions.
        error: One-sided error that the mixture is tuned to.

    Attributes:
        estimate: Estimate of the lead, at which no bet has won.
        deviation: Its standard error, or more.
    """

    def __init__(
        self, reading: ConversionBets, compared: Contrast, pair: ConversionPair, error: FloatArray
    ) -> None:
        self._compared = compared
        scale = np.where(compared.scale > 0.0, compared.scale, 1.0)
        self.estimate = compared.total / scale
        self.deviation = np.sqrt(compared.squares) / scale
        share = np.full_like(compared.total, _EVEN) if pair.share is None else pair.share
        weights, centres, self._bets = _bets(
            reading.planned, share, is_fixed=pair.share is not None
        )
        shape = (len(weights), *(1,) * compared.total.ndim)
        self._log_weights = np.log(weights).reshape(shape)
        self._centres = np.reshape(centres, shape)
        unconverted = pair.a.unconverted, pair.b.unconverted
        # A bet on a wins by conversions of a and by units of b without one.
        gained = _Sums.gained(pair.a.stack(unconverted[1]))
        self._sums = gained.beside(_Sums.lost(pair.b.stack(unconverted[0])))
        self._bound = np.maximum(pair.a.largest, pair.b.largest)
        planned = PLANNED_WEIGHT if reading.planned is not None else 0.0
        rest = (1.0 - planned) * (1.0 if planned else 1.0 - _GRID_PART)
        parts = np.array([rest * (1.0 - UNCONVERTED_WEIGHT), rest * UNCONVERTED_WEIGHT])
        bounds = np.array([compared.max_decrement, pair.a.largest])
        squares = unconverted[1].total_squared + unconverted[0].total_squared
        # Of conversions, and of units without one: it is b that has more of these.
        self._parts = np.log(parts).reshape(2, *shape[1:])
        self._rises = np.array([compared.total, unconverted[1].total - unconverted[0].total])
        self._bounds = bounds
        events = np.array([compared.squares, squares]) / (bounds * bounds)
        self._mixtures = Mixture(events, reading.sequence.tuning(compared, bounds, error))

    def log(self, lead: FloatArray) -> FloatArray:
        """Return log E against "the lead is at most `lead`"; shape of the contrasts."""
        # Leads of rates are within 1; sums that do not agree may say more.
        within = np.minimum(np.maximum(lead, -1.0), 1.0)
        up, down = np.maximum(within, 0.0), np.maximum(-within, 0.0)
        # c_a - c_b is the lead, and both stay within [0, 1].
        centre_a = np.minimum(self._centres + up, 1.0 - down)
        centre_b = np.minimum(self._centres + down, 1.0 - up)
        deepest = np.maximum(centre_a, 1.0 - centre_b) * self._bound
        bets = np.minimum(self._bets, _LARGEST_LOSS / np.maximum(deepest, _ROUNDING))
        # By bet, then by the units that win it and those that lose it, then by contrast.
        terms = np.empty((len(bets), 4, *lead.shape))
        terms[:, 0], terms[:, 1] = 1.0 - centre_a, centre_b
        terms[:, 2], terms[:, 3] = centre_b - 1.0, -centre_a
        terms *= bets[:, None]
        logs = self._sums.least(terms).sum(axis=1) + self._log_weights
        # A sum that fell leaves a bet some wealth, of which no bound is known: it counts as 0.
        rises = (self._rises - self._compared.scale * lead) / self._bounds
        mixed = self._mixtures.log(np.maximum(rises, 0.0))
        mixed = np.where(rises > 0.0, self._parts + mixed, -np.inf)
        logs = np.concatenate([logs, mixed])
        largest = logs.max(axis=0)
        found: FloatArray = largest + np.log(np.exp(logs - largest).sum(axis=0))
        return found


def _bets(
    planned: PlannedRates | None, share: FloatArray, *, is_fixed: bool
) -> tuple[Sequence[float], Sequence[float], FloatArray]:
    """Return weight, centre and l of every bet; the weights are those in E."""
    if planned is not None:
        centres = planned.centres(is_fixed=is_fixed)
        weights = [PLANNED_WEIGHT / len(centres)] * len(centres)
        return weights, centres, np.array([planned.bet(centre, share) for centre in centres])
    # Of units without a conversion, it is b that has more of them.
    of_more = np.array([share, 1.0 - share])[:, None]
    rises = _GRID_RISES.reshape(-1, *(1,) * share.ndim)
    bets = rises / (1.0 + rises * of_more)
    return _GRID_WEIGHTS, _GRID_CENTRES, bets.reshape(len(_GRID_WEIGHTS), *share.shape)


def _ends(wealth: _Wealth, error: FloatArray, log_at_zero: FloatArray) -> FloatArray:
    """Return leads at which E is at least 1 / error, near the largest one; -inf without any.

    By false positions on the root of log E, which is nearly a line, between a lead that is low
    enough and one that is not. No lead is an end before it was found low enough, so an end is never
    too high; nor is it beyond the estimate, unless no lead at all is found to be too low.

    Args:
        wealth: E as a function of the lead.
        error: One-sided error.
        log_at_zero: log E of no lead.

    Source: Dahlquist and Bjoerck (1974), "Numerical methods", section 6.4, for the halved value of
        an end that stays ("Illinois").
    """
    wanted = np.sqrt(-np.log(error))

    def relative(log_wealth: FloatArray) -> FloatArray:
        """Return by how much the root of log E is above the wanted one, in its units."""
        found: FloatArray = np.sqrt(np.maximum(log_wealth, 0.0)) / wanted - 1.0
        return found

    def excess(lead: FloatArray) -> FloatArray:
        return relative(wealth.log(lead))

    # A lead is tested for first: p-value and interval must agree whatever the estimate is.
    at_zero = relative(log_at_zero)
    is_above = at_zero >= 0.0
    high = np.where(is_above, np.maximum(wealth.estimate, 0.0), np.minimum(wealth.estimate, 0.0))
    at_high = np.where(high == 0.0, np.minimum(at_zero, -_TOLERANCE), -1.0)
    low = np.maximum(wealth.estimate - _FAR * wanted * wealth.deviation, -1.0)
    low = np.minimum(np.where(is_above, np.maximum(low, 0.0), low), high)
    at_low = np.where(is_above & (low == 0.0), at_zero, excess(low))
    # What is not low enough is an upper end, and what certainly is takes its place.
    for least in (np.where(is_above, 0.0, 2.0 * low - wealth.estimate), np.full_like(low, -1.0)):
        is_high = at_low < 0.0
        if not any_of(is_high):
            break
        high, at_high = np.where(is_high, low, high), np.where(is_high, at_low, at_high)
        low = np.where(is_high, np.maximum(np.where(is_above, 0.0, least), -1.0), low)
        at_low = np.where(is_high, np.where(is_above, at_zero, excess(low)), at_low)
    is_known = at_low >= 0.0
    stayed = np.zeros(low.shape)  # 1 if the upper end was moved last, -1 if the lower one was
    for _ in range(_MAX_STEPS):
        is_open = is_known & (at_low > _TOLERANCE) & (high > low)
        if not any_of(is_open):
            break
        # A little below the root, so that the next lead is low enough and near at once.
        part = (at_low - 0.5 * _TOLERANCE) / np.where(is_open, at_low - at_high, 1.0)
        lead = np.where(is_open, low + np.minimum(np.maximum(part, 0.0), 1.0) * (high - low), low)
        found = excess(lead)
        is_low = found >= 0.0
        at_low = np.where(is_open & ~is_low & (stayed > 0.0), 0.5 * at_low, at_low)
        at_high = np.where(is_open & is_low & (stayed < 0.0), 0.5 * at_high, at_high)
        low, at_low = np.where(is_low, lead, low), np.where(is_low, found, at_low)
        high, at_high = np.where(is_low, high, lead), np.where(is_low, at_high, found)
        stayed = np.where(is_low, -1.0, 1.0)
    # Where no lead at all was found low enough, the end is above it, however little.
    low = np.where(is_above & (low <= 0.0), np.finfo(np.float64).tiny, low)
    return np.where(is_known, low, -np.inf)
