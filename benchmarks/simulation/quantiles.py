"""Experiments whose variants are compared by a quantile, hundreds of them at once.

Every unit has a value; units are counted by bin, as cells count them, and the comparison is that of
production (`streams.stats.sequential.quantiles`) in arrays. Shares may move along with the
values, as a policy's do that is biased by a drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.amounts import Amounts
from benchmarks.simulation.proportion import Proportion
from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray
from streams.stats.sequential.quantiles import QuantilePair, QuantileSide
from streams.tallies.bins import QUANTILE_PRECISION, end_of

_PER_OCTAVE = 1 << QUANTILE_PRECISION
_FIRST = 6 * _PER_OCTAVE  # bins below are one: values of 0.00006
_N_BINS = 26 * _PER_OCTAVE
_ENDS = np.array([end_of(_FIRST + n, QUANTILE_PRECISION) for n in range(1, _N_BINS + 1)]) / MICRO


@dataclass(frozen=True, slots=True)
class ComparedQuantiles:
    """Two variants of which a quantile is compared.

    Attributes:
        values: Values of the units of each, of which the mean is 1, and factors on them.
        p: Probability of the quantile.
        units: Units of both.
        looks: How often everything is looked at.
        swing: Relative amplitude by which all values swing together, four times.
        moves: Whether shares move: with the part of the swing, so that drift and shares go along.
    """

    values: tuple[Amounts, Amounts]
    factors: tuple[float, float]
    p: float
    units: int
    looks: int
    swing: float = 0.0
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Counts of the differences that were found.

    Attributes:
        lower: Experiments in which the first variant was ever declared to be lower.
        higher: Those in which it was declared to be higher.
        either: Those in which it was one of both.
        mean_units: Mean units until one of both; all units where none was.
        error_units: Its standard error.
    """

    lower: Proportion
    higher: Proportion
    either: Proportion
    mean_units: float
    error_units: float


def judge(
    environment: ComparedQuantiles,
    repetitions: int,
    seed: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Judgement:
    """Return how often a difference was found, at a two-sided error of 5 %."""
    random = np.random.default_rng(seed)
    shape = (repetitions, 2, _N_BINS)
    below, squared = np.zeros(shape), np.zeros(shape)
    per_look = environment.units // environment.looks
    found = np.zeros((2, repetitions), dtype=np.intp)
    error = np.full(repetitions, 0.025)
    for look in progress(range(1, environment.looks + 1)):
        phase = np.sin(8.0 * np.pi * look / environment.looks)
        share = 0.5 + 0.4 * phase if environment.moves else 0.5
        first = random.binomial(per_look, share, repetitions)
        for variant, counts in enumerate((first, per_look - first)):
            place = np.repeat(np.arange(repetitions), counts)
            values = (
                environment.values[variant].draw(random, len(place)) * environment.factors[variant]
            )
            values *= 1.0 + environment.swing * phase
            number = np.searchsorted(_ENDS, values, side="right")
            index = place * _N_BINS + np.minimum(number, _N_BINS - 1)
            # The overlap weight: the share of the other variant.
            weight = 1.0 - share if variant == 0 else share
            added = np.bincount(index, minlength=repetitions * _N_BINS).reshape(-1, _N_BINS)
            below[:, variant] += weight * added
            squared[:, variant] += weight * weight * added
        used = np.asarray(below.sum(axis=(0, 1)) > 0.0)
        used[:-1] |= used[1:]  # and where the first bin of several begins
        sides = [_side(below[:, each], squared[:, each], used) for each in (0, 1)]
        pair = QuantilePair(environment.p, *sides)
        for side, each in enumerate((pair.reversed(), pair)):
            new = (each.p_values(error) <= error) & (found[side] == 0)
            found[side][new] = look
    either = np.where(found > 0, found, environment.looks + 1).min(axis=0)
    units = np.minimum(either, environment.looks) * float(per_look)
    return Judgement(
        Proportion(int((found[0] > 0).sum()), repetitions),
        Proportion(int((found[1] > 0).sum()), repetitions),
        Proportion(int((found > 0).any(axis=0).sum()), repetitions),
        float(units.mean()),
        float(units.std() / repetitions**0.5),
    )


def _side(units: FloatArray, squared: FloatArray, used: NDArray[np.bool_]) -> QuantileSide:
    below, below_squared = (np.cumsum(each[:, used], axis=1) for each in (units, squared))
    ends = np.broadcast_to(_ENDS[used], below.shape)
    return QuantileSide(
        ends, below, below_squared, below[:, -1], below_squared[:, -1], np.ones(len(below))
    )
