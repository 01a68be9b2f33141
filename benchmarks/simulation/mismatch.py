"""Alarm rates of the test of the sample ratio, with and without cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.proportion import Proportion
from benchmarks.simulation.stopping import overlap_weights
from benchmarks.simulation.traffic import Traffic, arrivals
from streams.stats.sequential.sample_ratio import (
    Assigned,
    sharper,
    under_fixed_weights,
    under_moving_weights,
    under_overlap_weights,
)


@dataclass(frozen=True, slots=True)
class Alarms:
    """Results of the test in many experiments.

    Attributes:
        raised: Experiments in which the p-value was ever at most alpha.
        median_units: Median units of the whole experiment at the first alarm; experiments without
            one count with all their units.
    """

    raised: Proportion
    median_units: float


def alarms(
    traffic: Traffic,
    repetitions: int,
    seed: int,
    *,
    kept: tuple[float, ...] | None = None,
    alpha: float = 0.001,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Alarms:
    """Return how often and how soon a mismatch is seen.

    Args:
        traffic: What arrives.
        repetitions: Number of experiments, >= 1.
        seed: Seed of the random numbers.
        kept: Probability that an assigned unit of each variant is counted; None if all are.
        alpha: Error at which the alarm is raised, in (0, 1).
        progress: Wraps the iteration over the looks, to show how far it is.
    """
    n_arms = len(traffic.rates)
    random = np.random.default_rng((seed, 1))
    shape = (repetitions, n_arms)
    counts, weight, weight_squared = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    overlap, overlap_squared = np.zeros((*shape, n_arms)), np.zeros((*shape, n_arms))
    largest = np.full(shape, 1.0 / traffic.least_share)
    first = np.full(repetitions, np.inf)
    arrived = arrivals(traffic, repetitions, seed)
    for look, new in zip(progress(range(1, traffic.looks + 1)), arrived, strict=True):
        units = new.units
        if kept is not None:
            units = random.binomial(units.astype(np.int64), kept).astype(np.float64)
        counts += units
        weight += units / new.shares
        weight_squared += units / new.shares**2
        if traffic.weights.move:
            beside = overlap_weights(new.shares)
            overlap += units[:, :, None] * beside
            overlap_squared += units[:, :, None] * beside**2
            assigned = Assigned(weight, weight_squared, largest)
            result = sharper(
                under_overlap_weights(overlap, overlap_squared),
                under_moving_weights(assigned, counts.sum(axis=1, keepdims=True)),
            )
        else:
            result = under_fixed_weights(counts, np.full(n_arms, 1.0 / n_arms))
        alarmed = (result.p_value <= alpha) & np.isinf(first)
        first[alarmed] = look * traffic.units_per_look
    raised = np.isfinite(first)
    all_units = traffic.looks * traffic.units_per_look
    return Alarms(
        Proportion(int(raised.sum()), repetitions),
        float(np.median(np.where(raised, first, all_units))),
    )
