"""How often the stopping rules err, and how soon they end: counted, through the code that decides.

Every experiment is looked at after every interval. A rule names a variant once the confidence
sequences of its advantage over all others lie above 0, each at error alpha / (n_arms - 1); whoever
is named first is remembered. The rule that the product follows asks for more (it names none but the
variant that is most probably best), so its errors are at most as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.calibration.proportion import Proportion
from streams.calibration.traffic import Traffic, arrivals
from streams.inference.comparison import intervals
from streams.inference.contrasts import (
    Contrast,
    PlainSums,
    TiltedSums,
    contrast,
    fixed_contrast,
)
from streams.inference.posterior import FloatArray


class Reading(StrEnum):
    """From which sums the variants are compared."""

    PLAIN = "plain"
    """Plain sums: for weights that never move."""

    OVERLAP = "overlap"
    """Sums with the weights h / p, h = 1 / sum of 1 / p."""

    INVERSE = "inverse"
    """Sums with the weights 1 / p."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A stopping rule.

    Attributes:
        reading: From which sums the variants are compared.
        alpha: Probability of ever naming a variant that is not better than all others, in (0, 1).
        min_units: Units every variant must have.
        planned: Whether `min_units` is a planned size.
    """

    reading: Reading
    alpha: float = 0.05
    min_units: int = 100
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule did in many experiments.

    Attributes:
        named: Experiments in which it ever named a variant.
        wrong: Those in which that variant is not strictly better than all others.
        missed: Those in which the sequence of the first variant against the second, at error alpha,
            ever missed their true difference.
        mean_units: Mean units of the whole experiment when a variant was named; experiments in
            which none was count with all their units, so it is too small if there are such.
        median_units: Their median.
    """

    named: Proportion
    wrong: Proportion
    missed: Proportion
    mean_units: float
    median_units: float


def run(traffic: Traffic, rule: Rule, repetitions: int, seed: int) -> Outcome:
    """Return what a rule does in `repetitions` experiments.

    Args:
        traffic: What arrives.
        rule: The rule.
        repetitions: Number of experiments, >= 1.
        seed: Seed of the random numbers.
    """
    n_arms = len(traffic.rates)
    planned_units = rule.min_units if rule.planned else 0
    named = np.full(repetitions, -1)
    ended = np.full(repetitions, float(traffic.looks * traffic.units_per_look))
    missed = np.zeros(repetitions, dtype=bool)
    difference = traffic.rates[0] - traffic.rates[1]
    for look, compared in enumerate(_contrasts(traffic, rule, repetitions, seed), 1):
        ready = (compared.fewest >= rule.min_units).all(axis=(1, 2), where=_pairs(n_arms))
        winner = _winners(compared, rule, planned_units, ready & (named < 0))
        new = winner >= 0
        named[new] = winner[new]
        ended[new] = look * traffic.units_per_look
        missed |= _misses(compared, rule, planned_units, difference)
    best = int(np.argmax(traffic.rates))
    is_strict = traffic.rates.count(max(traffic.rates)) == 1
    wrong = (named >= 0) & ((named != best) | (not is_strict))
    return Outcome(
        named=Proportion(int((named >= 0).sum()), repetitions),
        wrong=Proportion(int(wrong.sum()), repetitions),
        missed=Proportion(int(missed.sum()), repetitions),
        mean_units=float(ended.mean()),
        median_units=float(np.median(ended)),
    )


def _contrasts(traffic: Traffic, rule: Rule, repetitions: int, seed: int) -> Iterator[Contrast]:
    """Yield after every look the contrasts of all pairs; shape (repetitions, n_arms, n_arms)."""
    shape = (repetitions, len(traffic.rates))
    units, weight, weight_squared, total, squared = (np.zeros(shape) for _ in range(5))
    largest = 1.0 / traffic.least_share if rule.reading is Reading.INVERSE else 1.0
    for look, new in enumerate(arrivals(traffic, repetitions, seed), 1):
        h = 1.0
        if rule.reading is Reading.OVERLAP:
            h = 1.0 / (1.0 / new.shares).sum(axis=1, keepdims=True)
        each = np.ones(shape) if rule.reading is Reading.PLAIN else h / new.shares
        units += new.units
        weight += each * new.units
        weight_squared += each * each * new.units
        total += each * new.successes
        squared += each * each * new.successes  # of 0 and 1, which are their own squares
        bounds = np.full(shape, largest)
        if rule.reading is Reading.PLAIN:
            plain = (units, total, squared, new.shares, bounds)
            yield fixed_contrast(
                PlainSums(*(field[:, :, None] for field in plain)),
                PlainSums(*(field[:, None, :] for field in plain)),
            )
        else:
            tilted = (units, weight, weight_squared, total, squared, squared, bounds)
            seen = np.full((repetitions, 1, 1), float(look * traffic.units_per_look))
            yield contrast(
                TiltedSums(*(field[:, :, None] for field in tilted)),
                TiltedSums(*(field[:, None, :] for field in tilted)),
                seen if rule.reading is Reading.INVERSE else None,
            )


def _winners(
    compared: Contrast, rule: Rule, planned_units: int, asked: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return who is named in each experiment; -1 for nobody."""
    n_arms = compared.total.shape[1]
    pairs = _pairs(n_arms)
    alpha = rule.alpha / (n_arms - 1)
    ahead = (_far(compared, 0.0, alpha) & (compared.total > 0.0)).all(axis=2, where=pairs)
    candidates = (asked[:, None] & ahead)[:, :, None] & pairs
    lower = np.full(compared.total.shape, -np.inf)
    lower[candidates] = intervals(compared.take(candidates), alpha, planned_units).lower
    wins = np.asarray((lower > 0.0).all(axis=2, where=pairs))
    return np.where(wins.any(axis=1), wins.argmax(axis=1), -1)


def _misses(
    compared: Contrast, rule: Rule, planned_units: int, difference: float
) -> NDArray[np.bool_]:
    """Return where the interval of the first variant against the second misses."""
    first = np.zeros(compared.total.shape, dtype=bool)
    first[:, 0, 1] = True
    if planned_units:
        first &= compared.fewest >= planned_units
    first &= _far(compared, difference, rule.alpha)
    found = intervals(compared.take(first), rule.alpha, planned_units)
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


def _pairs(n_arms: int) -> NDArray[np.bool_]:
    return ~np.eye(n_arms, dtype=bool)
