"""The policy that is asked about, replayed over the log: its weights when each unit came.

It learns as a live one does: after every batch of units it is given the tally of the units before
and of their observations by then, and the evaluation that workers run gives the weights of the next
batch. It learns either from all of the log, and then the question is what its choices would have
earned with the knowledge that the log gave; or from a run of its own that is drawn from the log,
and then it pays for its knowledge itself, over a run that is as much shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import Experiment
from streams.model.errors import InputError, InvalidParameterError
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE
from streams.policies.contextual.base import ContextualPolicy
from streams.replay.off_policy.logged import IntArray, UnitLog
from streams.replay.off_policy.progress import Progress, batches
from streams.tallies.cell import MetricTally, Tally, VariantTally

FloatArray = NDArray[np.float64]

MIN_BATCH = 100
"""Units between two allocations, at least: Thompson sampling loses nothing measurable by it."""

MAX_BATCHES = 2_000
"""Allocations of a whole log, at most, unless told otherwise: two or three seconds."""

WEIGHT_TOLERANCE = 1e-6

Weigh = Callable[[Tally], Sequence[float]]
"""Gives the shares of the variants, which sum to 1, for a tally."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A policy as it would have gone through the log, batch by batch.

    Attributes:
        batches: Batch of each unit; shape (n,), ascending from 0.
        shares: Share of each variant in a batch; shape (n_batches, n_arms), rows sum to 1.
        model: Mean value of each variant by what was known before; shape (n_batches, n_arms).
        n_learned: Units that the policy learned from.
        lacking: Share of its choices that its own run lacks, because the log has too few of them.
    """

    batches: IntArray
    shares: FloatArray
    model: FloatArray
    n_learned: int
    lacking: float = 0.0

    def of_assigned(self, variants: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return share and predicted value of the variant that each unit was assigned."""
        return self.shares[self.batches, variants], self.model[self.batches, variants]

    @property
    def expected(self) -> FloatArray:
        """Predicted value of each unit under the target; shape (n,)."""
        by_batch: FloatArray = (self.shares * self.model).sum(axis=1)
        return by_batch[self.batches]

    @property
    def mean_shares(self) -> FloatArray:
        """Mean share of each variant over the units; shape (n_arms,)."""
        sizes = np.bincount(self.batches, minlength=len(self.shares))
        total: FloatArray = (self.shares * sizes[:, None]).sum(axis=0)
        return total / float(len(self.batches))


def batch_size(n_units: int) -> int:
    """Return how many units come between two allocations unless told otherwise.

    >>> batch_size(10_000), batch_size(1_000_000)
    (100, 500)
    """
    return max(MIN_BATCH, -(-n_units // MAX_BATCHES))


def fixed(weights: Sequence[float]) -> Weigh:
    """Return the policy that always gives these shares.

    Args:
        weights: >= 0, sum to 1.

    Raises:
        InvalidParameterError: they are not.
    """
    total = sum(weights)
    if not weights or min(weights) < 0.0 or not abs(total - 1.0) <= WEIGHT_TOLERANCE:
        raise InvalidParameterError("weights", tuple(weights), ">= 0 and sum to 1")
    shares = tuple(weight / total for weight in weights)
    return lambda _: shares


def policy_of(experiment: Experiment) -> Weigh:
    """Return the policy of an experiment, as its worker runs it.

    Raises:
        InputError: it decides by the request (`CONTEXTUAL_POLICY`): it has no shares of a batch.
    """
    if isinstance(experiment.definition.config.parameters, ContextualPolicy):
        message = f"{experiment.definition.config.type} decides by the features of each request; "
        message += "its log can be asked about policies that do not, or about fixed weights"
        raise InputError("CONTEXTUAL_POLICY", message, "type")
    if not experiment.definition.config.parameters.adaptive:
        return fixed(_shares(experiment, Tally()))
    return lambda tally: _shares(experiment, tally)


@dataclass(frozen=True, slots=True, eq=False)
class OwnRun:
    """A run of the policy's own that is drawn from the log.

    A unit is taken with probability min(1, w / cap). Of all units, one in `cap` is taken on
    average, whatever the policy; and those taken have the variants that the policy would have
    given, as long as no weight exceeds the cap.

    Attributes:
        cap: Units of the log for one of the run, >= 1.
        draws: Uniform in [0, 1), one a unit of the log; shape (n,).

    Source: Dudik, Erhan, Langford and Li (2014), section 4, for policies that learn; Li, Chu,
        Langford and Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news
        article recommendation algorithms", for logs of an even split.
    """

    cap: float
    draws: FloatArray

    def __post_init__(self) -> None:
        if not self.cap >= 1.0:
            raise InvalidParameterError("cap", self.cap, ">= 1")


def replayed(
    log: UnitLog,
    weigh: Weigh,
    size: int,
    own: OwnRun | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Target:
    """Return a policy as it would have gone through the log.

    Args:
        log: The units; at least one.
        weigh: The policy.
        size: Units of a batch, >= 1.
        own: What it learns from; None for all of the log.
        advance: Told how many units have been passed since the last call.

    Raises:
        InvalidParameterError: `size` is not positive.
    """
    known = Progress(log, log.propensities)
    learner = None if own is None else _Learner(log, own)
    shares, model = [], []
    for batch in batches(log, size):
        known.observe(batch.news)
        tally = known.tally()
        model.append(_means(tally, log.metric, log.n_arms))
        if learner is not None:
            learner.observe(batch.news)
            tally = learner.tally()
        shares.append(np.array(weigh(tally)))
        known.assign(batch.units)
        if learner is not None:
            learner.take(batch.units, shares[-1])
        advance(len(batch.units))
    columns = np.arange(log.n_units) // size, np.array(shares), np.array(model)
    if learner is None:
        return Target(*columns, log.n_units)
    return Target(*columns, learner.n_units, learner.lacking)


class _Learner:
    """What the policy knows by a run of its own."""

    def __init__(self, log: UnitLog, own: OwnRun) -> None:
        self._log = log
        self._own = own
        self._is_taken = np.zeros(log.n_units, np.bool_)
        self._propensities = log.propensities.copy()  # of those taken, their share
        self._progress = Progress(log, self._propensities)
        self._wanted = self._above_cap = 0.0

    @property
    def lacking(self) -> float:
        """Share of the policy's choices that the cap has cut off."""
        return self._above_cap / self._wanted if self._wanted else 0.0

    @property
    def n_units(self) -> int:
        """Units taken."""
        return int(self._is_taken.sum())

    def observe(self, news: IntArray) -> None:
        """Learn what is news of the units taken."""
        self._progress.observe(news[self._is_taken[self._log.observed_units[news]]])

    def tally(self) -> Tally:
        """Return the tally of the units taken."""
        return self._progress.tally()

    def take(self, units: IntArray, shares: FloatArray) -> None:
        """Take some of the units for which the policy had these shares."""
        chosen = shares[self._log.variants[units]]
        weights = chosen / self._log.probabilities[units]
        self._wanted += float(weights.sum())
        self._above_cap += float(np.maximum(weights - self._own.cap, 0.0).sum())
        is_taken = self._own.draws[units] * self._own.cap < weights
        taken = units[is_taken]
        self._is_taken[taken] = True
        self._propensities[taken] = np.maximum(1, np.rint(chosen[is_taken] * PROPENSITY_ONE))
        self._progress.assign(taken)


def _shares(experiment: Experiment, tally: Tally) -> tuple[float, ...]:
    weights = evaluate(experiment, tally, ()).allocation.weights
    return tuple(weight / ALLOCATION_TOTAL for weight in weights)


def _means(tally: Tally, metric: str, n_arms: int) -> list[float]:
    """Return the mean of each variant, with one unit more at the mean of all."""
    variants = [tally.variants.get(arm, VariantTally()) for arm in range(n_arms)]
    totals = [variant.metrics.get(metric, MetricTally()).total / MICRO for variant in variants]
    units = [variant.units for variant in variants]
    overall = sum(totals) / max(1, sum(units))
    return [(total + overall) / (n + 1) for total, n in zip(totals, units, strict=True)]
