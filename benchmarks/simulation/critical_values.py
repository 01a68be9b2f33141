"""Rules beside ours: |z| against a critical value, at every look or at the last one.

The statistic that compares two equal shares of a binary metric is z, the difference of the means in
its standard errors; rules differ in how large it must be after how many units. Two of them are what
products publish, written as a critical value; one is the habit of stopping "when the probability to
be best passes 95 %".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import special

from benchmarks.simulation.stopping import Judged, Outcome, outcome
from benchmarks.simulation.traffic import Arrivals, Traffic, arrivals
from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray

_TWO_SIDED_95 = float(special.ndtri(0.975))
_ONE_SIDED_95 = float(special.ndtri(0.95))
_STATSIG = 3.58
_ALPHA = 0.05
_TUNED_UNITS = 5_000.0
_N_ARMS = 2


@dataclass(frozen=True, slots=True)
class CriticalValue:
    """A rule that declares the leader of two once |z| exceeds a value.

    Attributes:
        name: What tables call it.
        at: The value, given the units of both variants.
        only_last: Whether one looks but once, at the end.
    """

    name: str
    at: Callable[[int], float]
    only_last: bool = False


def _growthbook(units: int) -> float:
    # arXiv 2103.06476, with the tuning that GrowthBook documents: narrowest at N* units.
    ratio = (-2.0 * math.log(_ALPHA) + math.log1p(-2.0 * math.log(_ALPHA))) / _TUNED_UNITS
    scaled = units * ratio
    return math.sqrt(2.0 * (scaled + 1.0) / scaled * math.log(math.sqrt(scaled + 1.0) / _ALPHA))


PROBABILITY_BEST = CriticalValue("P(best) > 95 %", lambda _: _ONE_SIDED_95)
SIGNIFICANT = CriticalValue("p < 5 % of a fixed test", lambda _: _TWO_SIDED_95)
GROWTHBOOK = CriticalValue("GrowthBook's sequential rule", _growthbook)
STATSIG = CriticalValue("Statsig's sequential rule", lambda _: _STATSIG)
FIXED_HORIZON = CriticalValue("fixed horizon", lambda _: _TWO_SIDED_95, only_last=True)

OTHERS = (PROBABILITY_BEST, SIGNIFICANT, GROWTHBOOK, STATSIG, FIXED_HORIZON)
"""P(best) of two is Phi(|z|) of the leader, so it exceeds 95 % from |z| = 1.645 on. Statsig's mSPRT
comes to a constant 3.58 on an even split."""


def run(
    traffic: Traffic,
    rule: CriticalValue,
    repetitions: int,
    seed: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    min_units: int = 100,
) -> Outcome:
    """Return what a rule does in `repetitions` experiments; it claims no sequence that could miss.

    Args:
        traffic: What arrives: 0 and 1, at equal shares of two variants.
        rule: The rule.
        repetitions: Number of experiments, >= 1.
        seed: Seed; the same one brings the same data as to `stopping.run`.
        progress: Wraps the iteration over the looks, to show how far it is.
        min_units: Units every variant must have.

    Raises:
        InvalidParameterError: the traffic is of another kind.
    """
    if len(traffic.rates) != _N_ARMS or traffic.weights.move or traffic.amounts is not None:
        raise InvalidParameterError("traffic", traffic, "0 and 1 at equal shares of two variants")
    arrived: Iterable[Arrivals] = arrivals(traffic, repetitions, seed)
    rates = np.array(traffic.rates)
    units, total = np.zeros((repetitions, _N_ARMS)), np.zeros((repetitions, _N_ARMS))
    declared = np.full(repetitions, -1)
    declared_at = np.zeros(repetitions, dtype=np.intp)
    lost = np.zeros(repetitions)
    for look, new in zip(progress(range(1, traffic.looks + 1)), arrived, strict=True):
        units, total = units + new.units, total + new.total
        lost += np.where(declared < 0, (new.units * (rates.max() - rates)).sum(axis=1), 0.0)
        if rule.only_last and look < traffic.looks:
            continue
        z = _z(units, total)
        ready = (declared < 0) & (units >= min_units).all(axis=1)
        new_ones = ready & (np.abs(z) > rule.at(look * traffic.units_per_look))
        declared[new_ones] = np.where(z > 0.0, 0, 1)[new_ones]
        declared_at[new_ones] = look
    never = np.zeros(repetitions, dtype=np.intp)
    return outcome(traffic, Judged(declared, declared_at, never, lost))


def _z(units: FloatArray, total: FloatArray) -> FloatArray:
    mean = (total + 1.0) / (units + 2.0)  # moments of the posterior under a flat prior
    variance = mean * (1.0 - mean) / (units + 3.0)
    return np.asarray((mean[:, 0] - mean[:, 1]) / np.sqrt(variance.sum(axis=1)))
