"""Errors and stopping times of the stopping rules, through the code that decides.

Every experiment is looked at after every interval. A rule declares a variant once the confidence
sequences of its advantage over all others lie above 0, each at the error `pairwise_error`; the
variant that is declared first is remembered. The rule that the product follows asks for more (it
declares none but the variant that is most probably best), so its errors are at most as many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.traffic import Arrivals, Traffic, arrivals
from streams.experiments.plan import PlanSpec
from streams.stats.alternative import Alternative
from streams.stats.arrays import FloatArray
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind
from streams.stats.sequential.comparison import (
    UNPLANNED_RATES,
    Readings,
    both_sides,
    intervals,
    pairwise_error,
    planned_readings,
)
from streams.stats.sequential.contrasts import (
    Contrast,
    PlainSums,
    WeightedSums,
    fixed_contrast,
    inverse_contrast,
    overlap_contrast,
)
from streams.stats.sequential.planned_information import PlannedInformation
from streams.stats.sequential.tails import Moments

_PAIR = 2
_SMALLEST = 254.0  # code of a weight of 1 / 65,536


class ComparedSums(StrEnum):
    """From which sums the variants are compared."""

    PLAIN = "plain"
    """Plain sums: for weights that never move."""

    OVERLAP = "overlap"
    """Sums with the overlap weights h / p of every pair."""

    INVERSE = "inverse"
    """Sums with the weights 1 / p."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A stopping rule.

    Attributes:
        reading: From which sums the variants are compared.
        alpha: Probability of ever declaring a variant that is not better than all others, in
            (0, 1).
        min_units: Units every variant must have.
        plan: Plan of the metric; None for none.
        at_once: Whether units may all be there before they convert, as users.
        alternative: Whether the control may be declared, too.
        kind: Kind of the metric, as declared.
    """

    reading: ComparedSums
    alpha: float = 0.05
    min_units: int = 100
    plan: PlanSpec | None = None
    at_once: bool = False
    alternative: Alternative = Alternative.TWO_SIDED
    kind: MetricKind = MetricKind.BINARY

    @property
    def readings(self) -> Readings:
        """Readings of every comparison."""
        if self.plan is None:
            return UNPLANNED_RATES
        information = self.plan.information(self.kind, Direction.INCREASE)
        share = self.plan.share_of_mean(self.kind) if self.at_once else 0.0
        return planned_readings(
            PlannedInformation(information, share),
            self.plan.rates(self.kind, Direction.INCREASE),
            self.plan.drift(self.kind, Direction.INCREASE),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Decisions of a rule in many experiments.

    Attributes:
        declared: Experiments in which it ever declared a variant.
        wrong: Those in which that variant is not strictly better than all others.
        missed: Those in which the sequence of the first variant against the second, at error alpha,
            ever missed their true difference.
        mean_units: Mean units of the whole experiment when a variant was declared; experiments in
            which none was count with all their units, so it is too small if there are such.
        median_units: Their median.
        mean_lost: Mean of what was lost by then against the best variant, in units of the metric.
        error_units: Standard error of `mean_units`.
        declared_by: Experiments that had declared a variant by each look, the first one first.
        missed_by: Those in which the difference had been missed by each look.
    """

    declared: Proportion
    wrong: Proportion
    missed: Proportion
    mean_units: float
    median_units: float
    mean_lost: float
    error_units: float
    declared_by: tuple[int, ...]
    missed_by: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Decision of a rule in each of many experiments; all shapes are (repetitions,).

    Attributes:
        declared: Index of the variant that was declared first; -1 for none.
        declared_at: Look at which it was, from 1 on; 0 for never.
        missed_at: Look at which the sequence first missed the true difference; 0 for never.
        lost: What was lost until then against the best variant.
    """

    declared: NDArray[np.intp]
    declared_at: NDArray[np.intp]
    missed_at: NDArray[np.intp]
    lost: FloatArray


def run(
    traffic: Traffic,
    rule: Rule,
    repetitions: int,
    seed: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Outcome:
    """Return what a rule does in `repetitions` experiments.

    Args:
        traffic: What arrives.
        rule: The rule.
        repetitions: Number of experiments, >= 1.
        seed: Seed of the random numbers.
        progress: Wraps the iteration over the looks, to show how far it is.
    """
    arrived = arrivals(traffic, repetitions, seed)
    return outcome(traffic, judge(traffic, rule, repetitions, arrived, progress))


def judge(
    traffic: Traffic,
    rule: Rule,
    repetitions: int,
    arrived: Iterable[Arrivals],
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Judged:
    """Return what a rule says of experiments, given all that arrived.

    Args:
        traffic: How it arrived: rates, looks, units between them, and the floor.
        rule: The rule.
        repetitions: Number of experiments, >= 1.
        arrived: What every interval brought to them, as many as there are looks.
        progress: Wraps the iteration over the looks, to show how far it is.
    """
    declared = np.full(repetitions, -1)
    declared_at = np.zeros(repetitions, dtype=np.intp)
    missed_at = np.zeros(repetitions, dtype=np.intp)
    lost = np.zeros(repetitions)
    rates = np.array(traffic.rates)
    sums = _Sums.none((repetitions, len(rates)), rule.reading)
    for look, new in zip(progress(range(1, traffic.looks + 1)), arrived, strict=True):
        sums.add(new, rule.reading)
        lost += np.where(declared < 0, (new.units * (rates.max() - rates)).sum(axis=1), 0.0)
        compared = _contrasts(sums, traffic, rule.reading, look * traffic.units_per_look)
        ready = (sums.units >= rule.min_units).all(axis=1) & (declared < 0)
        missed = _misses(compared, rule, rates[0] - rates[1])
        missed_at[missed & (missed_at == 0)] = look
        winner = _winners(compared, rule, ready)
        new_ones = winner >= 0
        declared[new_ones] = winner[new_ones]
        declared_at[new_ones] = look
    return Judged(declared, declared_at, missed_at, lost)


def outcome(traffic: Traffic, judged: Judged) -> Outcome:
    """Return what a rule did, from what it said in each experiment."""
    repetitions = len(judged.declared)
    is_declared = judged.declared >= 0
    best = max(range(len(traffic.rates)), key=traffic.rates.__getitem__)
    is_strict = traffic.rates.count(traffic.rates[best]) == 1
    is_wrong = is_declared & ((judged.declared != best) | (not is_strict))
    ended = np.where(is_declared, judged.declared_at, traffic.looks) * float(traffic.units_per_look)
    return Outcome(
        declared=Proportion(int(is_declared.sum()), repetitions),
        wrong=Proportion(int(is_wrong.sum()), repetitions),
        missed=Proportion(int((judged.missed_at > 0).sum()), repetitions),
        mean_units=float(ended.mean()),
        median_units=float(np.median(ended)),
        mean_lost=float(judged.lost.mean()),
        error_units=float(ended.std() / math.sqrt(repetitions)),
        declared_by=happened_by(judged.declared_at, traffic.looks),
        missed_by=happened_by(judged.missed_at, traffic.looks),
    )


def happened_by(first: NDArray[np.intp], looks: int) -> tuple[int, ...]:
    """Return in how many experiments something had happened by each look.

    Args:
        first: Look at which it happened first, from 1 on; 0 for never.
        looks: Number of looks.

    Examples:
        >>> happened_by(np.array([0, 2, 1, 2]), 3)
        (1, 3, 3)
    """
    counts = np.bincount(first, minlength=looks + 1)[1:]
    return tuple(np.cumsum(counts).tolist())


@dataclass(slots=True, eq=False)
class _Sums:
    """Tallies of every experiment and variant.

    The sums of weights, of a beside b at [:, a, b], have the shape (repetitions, n_arms, n_arms),
    or 1 at last where all pairs have the same; the others have the shape (repetitions, n_arms).
    """

    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    total: FloatArray
    cross: FloatArray
    total_squared: FloatArray
    value: FloatArray
    value_squared: FloatArray
    value_cubed: FloatArray
    cap: FloatArray | None = None

    @classmethod
    def none(cls, shape: tuple[int, int], reading: ComparedSums) -> Self:
        by_pair = (*shape, shape[1] if reading is ComparedSums.OVERLAP else 1)
        shapes = [shape, *[by_pair] * 5, *[shape] * 3]
        return cls(*map(np.zeros, shapes))

    def add(self, new: Arrivals, reading: ComparedSums) -> None:
        match reading:
            case ComparedSums.PLAIN:
                each = np.ones_like(new.shares)[:, :, None]
            case ComparedSums.OVERLAP:
                each = overlap_weights(new.shares)
            case ComparedSums.INVERSE:
                each = 1.0 / new.shares[:, :, None]
            case _:
                assert_never(reading)
        square = each * each
        units, total, total_squared = (
            sums[:, :, None] for sums in (new.units, new.total, new.total_squared)
        )
        self.units += new.units
        self.weight += each * units
        self.weight_squared += square * units
        self.total += each * total
        self.cross += square * total
        self.total_squared += square * total_squared
        self.value += new.total
        self.value_squared += new.total_squared
        self.value_cubed += new.total_cubed
        self.cap = new.cap

    def moments(self, heaviest: float) -> Moments:
        units = np.maximum(self.units, 1.0)
        mean = self.value / units
        square, cube = self.value_squared / units, self.value_cubed / units
        variance = np.maximum(square - mean * mean, 0.0)
        third = cube - 3.0 * mean * square + 2.0 * mean**3
        return Moments(variance, third, np.full_like(units, heaviest))


def _contrasts(sums: _Sums, traffic: Traffic, reading: ComparedSums, units: int) -> Contrast:
    """Return the contrasts of all pairs; shape (repetitions, n_arms, n_arms)."""
    largest = 1.0 / traffic.least_share if reading is ComparedSums.INVERSE else 1.0
    most: float | FloatArray = math.inf if traffic.cap is None else traffic.cap
    if sums.cap is not None:
        most = np.minimum(sums.cap, 1e9)[:, None]
    bounds = np.ones_like(sums.units) * largest * (1.0 if traffic.amounts is None else most)
    heaviest, is_capped = None, traffic.cap is not None or sums.cap is not None
    if traffic.amounts is not None and is_capped:
        heaviest = np.full_like(bounds, largest)[:, :, None]
    of_other = None if heaviest is None else _of_b(heaviest)
    moments = None if traffic.amounts is None else sums.moments(largest)
    of_a, of_b = (
        None if moments is None else moments.each(beside)
        for beside in (lambda of: of[..., :, None], lambda of: of[..., None, :])
    )
    won_by_a = won_by_b = None
    if traffic.amounts is None and reading is not ComparedSums.INVERSE:
        won_by_a, won_by_b = sums.value[:, :, None], sums.value[:, None, :]
    if reading is ComparedSums.PLAIN:
        shares = np.full_like(sums.units, 1.0 / len(traffic.rates))
        alone = [each[:, :, None] for each in (sums.units, shares, bounds)]
        plain = (alone[0], sums.total, sums.total_squared, *alone[1:])
        return fixed_contrast(
            PlainSums(*plain, moments=of_a, heaviest=heaviest, converted=won_by_a),
            PlainSums(*map(_of_b, plain), moments=of_b, heaviest=of_other, converted=won_by_b),
        )
    is_bounded = moments is None or is_capped
    variance = np.zeros_like(bounds) if is_bounded else sums.moments(largest).variance
    tilted = (
        sums.units[:, :, None],
        sums.weight,
        sums.weight_squared,
        sums.total,
        sums.cross,
        sums.total_squared,
        bounds[:, :, None],
        variance[:, :, None],
    )
    a = WeightedSums(*tilted, moments=of_a, heaviest=heaviest, converted=won_by_a)
    b = WeightedSums(*map(_of_b, tilted), moments=of_b, heaviest=of_other, converted=won_by_b)
    if reading is ComparedSums.OVERLAP:
        return overlap_contrast(a, b)
    return inverse_contrast(a, b, np.array(float(units)))


def overlap_weights(shares: FloatArray) -> FloatArray:
    """Return what a unit of a counts beside b, at [..., a, b], as the folds have it.

    Args:
        shares: Shares of the variants; shape (..., n_arms), > 0.

    Examples:
        >>> overlap_weights(np.array([[0.25, 0.75]])).round(3).tolist()
        [[[0.5, 0.75], [0.25, 0.5]]]
    """
    n_arms = shares.shape[-1]
    ends = shares
    if n_arms > _PAIR:
        codes = np.minimum(np.round(-16.0 * np.log2(shares)), _SMALLEST)
        ends = np.where(codes < _SMALLEST, 2.0 ** (-(2.0 * codes + 1.0) / 32.0), 2.0**-16)
    a, b = ends[..., :, None], ends[..., None, :]
    weights = a * b / (a + b) / shares[..., :, None]
    return np.where(np.eye(n_arms, dtype=np.bool_), 0.5, weights)


def _of_b(sums: FloatArray) -> FloatArray:
    """Return sums of a beside b as those of b beside a."""
    return sums.swapaxes(1, 2)


def _winners(compared: Contrast, rule: Rule, asked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the variant declared in each experiment, -1 for none; the last one is the control."""
    n_arms = compared.total.shape[1]
    pairs = ~np.eye(n_arms, dtype=bool)
    side = rule.alternative
    of_others, of_control = (
        side.of_one_side(
            pairwise_error(rule.alpha, n_arms, with_control=with_control, alternative=side)
        )
        for with_control in (False, True)
    )
    error = np.full((n_arms, n_arms), of_others)
    error[-1] = error[:, -1] = of_control
    may_win = np.arange(n_arms) < n_arms - (side is Alternative.BETTER)
    is_far = _far(compared, 0.0, 2.0 * float(error.max())) & (compared.total > 0.0)
    ahead = may_win & is_far.all(axis=2, where=pairs)
    candidates = (asked[:, None] & ahead)[:, :, None] & pairs
    lower = np.full(compared.total.shape, -np.inf)
    lower[candidates] = both_sides(
        compared.take(candidates),
        np.broadcast_to(error, candidates.shape)[candidates],
        rule.readings,
    ).intervals.lower
    wins = np.asarray((lower > 0.0).all(axis=2, where=pairs))
    return np.where(wins.any(axis=1), wins.argmax(axis=1), -1)


def _misses(compared: Contrast, rule: Rule, difference: float) -> NDArray[np.bool_]:
    """Return where the interval of the first variant against the second misses."""
    first = np.zeros(compared.total.shape, dtype=bool)
    first[:, 0, 1] = True
    first &= _far(compared, difference, rule.alpha)
    found = intervals(compared.take(first), rule.alpha, rule.readings)
    missed = np.zeros(compared.total.shape, dtype=bool)
    missed[first] = (difference < found.lower) | (difference > found.upper)
    return missed[:, 0, 1]


def _far(compared: Contrast, difference: float, alpha: float) -> NDArray[np.bool_]:
    """Return where a fixed test would reject a difference; others need not be asked.

    An interval that holds at every look is wider than one that holds at this look alone.
    """
    critical = -float(special.ndtri(alpha / 2.0))
    distance: FloatArray = np.abs(compared.total - compared.scale * difference)
    centred = np.abs(compared.difference - difference)
    return np.asarray(
        (distance > critical * np.sqrt(compared.squares))
        | (centred > critical * compared.standard_error)
    )
