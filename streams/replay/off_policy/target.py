"""The policy that is asked about, replayed over the log: its weights when each unit came.

It learns as a live one does: after every batch of units it is given the tally of the units before
and of their observations by then, and the evaluation that workers run gives the weights of the next
batch. It learns either from the whole log, which estimates what its choices would have earned with
the knowledge in the log; or from a separate run drawn from the log, in which it pays for its own
exploration, over a correspondingly shorter run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import INTERCEPT, Vector
from streams.replay.off_policy.logged import IntArray, UnitLog
from streams.replay.off_policy.partial_tally import PartialTally, batches
from streams.replay.off_policy.rules import PolicyRule, Weigh
from streams.tallies.cell import MetricTally, Tally, VariantTally

FloatArray = NDArray[np.float64]

MIN_BATCH = 100
"""Units between two allocations, at least: Thompson sampling loses nothing measurable by it."""

MAX_BATCHES = 2_000
"""Allocations of a whole log, at most, by default: two or three seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A policy as it would have gone through the log, batch by batch.

    A *situation* is a batch or, under a policy that decides by features, a context in it; where
    not all variants were eligible for all units, it is one of those with one eligible set. Shares
    are then given that an eligible variant is chosen, like the propensities of the log.

    Attributes:
        situations: Situation of each unit; shape (n,), from 0.
        shares: Share of each variant in a situation; shape (n_situations, n_arms), rows sum to 1.
        model: Mean value of each variant by what was known before; shape (n_situations, n_arms).
        n_learned: Units that the policy learned from.
        lacking: Share of its choices that its own run lacks, because the log has too few of them.
        is_contextual: Whether it decides by features.
    """

    situations: IntArray
    shares: FloatArray
    model: FloatArray
    n_learned: int
    lacking: float = 0.0
    is_contextual: bool = False

    def of_assigned(self, variants: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return share and predicted value of the variant that each unit was assigned."""
        return self.shares[self.situations, variants], self.model[self.situations, variants]

    @property
    def expected(self) -> FloatArray:
        """Predicted value of each unit under the target; shape (n,)."""
        expected: FloatArray = (self.shares * self.model).sum(axis=1)
        return expected[self.situations]

    @property
    def mean_shares(self) -> FloatArray:
        """Mean share of each variant over the units; shape (n_arms,)."""
        sizes = np.bincount(self.situations, minlength=len(self.shares))
        total: FloatArray = (self.shares * sizes[:, None]).sum(axis=0)
        return total / float(len(self.situations))


def batch_size(n_units: int) -> int:
    """Return the default number of units between two allocations.

    >>> batch_size(10_000), batch_size(1_000_000)
    (100, 500)
    """
    return max(MIN_BATCH, -(-n_units // MAX_BATCHES))


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
        advance: Called with the number of units passed since the last call.

    Raises:
        InvalidParameterError: `size` is not positive.
    """
    known = PartialTally(log, log.propensities)
    learner = None if own is None else _Learner(log, own)
    found = _TargetRows(log)
    for batch in batches(log, size):
        known.observe(batch.news)
        tally = known.tally()
        if learner is None:
            rule = model = weigh(tally)
        else:
            learner.observe(batch.news)
            rule = weigh(learner.tally())
            model = rule if rule.predict is None else weigh(tally)
        means = _means(tally, log.metric, log.n_arms)
        shares = found.add(batch.units, rule, model.predict or _always(means))
        known.assign(batch.units)
        if learner is not None:
            learner.take(batch.units, shares)
        advance(len(batch.units))
    if learner is None:
        return found.target(log.n_units)
    return found.target(learner.n_units, learner.lacking)


def among(shares: Sequence[float], eligible: NDArray[np.bool_]) -> list[float]:
    """Return the shares given that an eligible variant is chosen; equal ones where none has any.

    >>> among((0.5, 0.25, 0.25), np.array([False, True, True]))
    [0.0, 0.5, 0.5]
    """
    chosen = np.where(eligible, shares, 0.0)
    if not chosen.any():
        chosen = eligible.astype(np.float64)
    found: list[float] = (chosen / chosen.sum()).tolist()
    return found


def _always(means: Sequence[float]) -> Callable[[Vector], Sequence[float]]:
    return lambda _: means


class _TargetRows:
    """The rows of a target under construction."""

    def __init__(self, log: UnitLog) -> None:
        self._log = log
        self._of_units: list[IntArray] = []
        self._shares: list[Sequence[float]] = []
        self._model: list[Sequence[float]] = []
        self._is_contextual = False

    def add(
        self, units: IntArray, rule: PolicyRule, predict: Callable[[Vector], Sequence[float]]
    ) -> FloatArray:
        """Add the situations of a batch.

        Returns:
            Share of each variant for each unit; shape (n_units, n_arms).
        """
        first, log = len(self._shares), self._log
        contexts = np.zeros(len(units), np.int64)
        vectors: Sequence[Vector] = [INTERCEPT]
        if rule.predict is not None:
            self._is_contextual = True
            if len(log.contexts):
                places, contexts = np.unique(log.contexts[units], return_inverse=True)
                vectors = [log.vectors[place] for place in places.tolist()]
        shares = [rule.shares(vector) for vector in vectors]
        model = [predict(vector) for vector in vectors]
        if len(log.sets):
            pairs = np.stack([contexts, log.sets[units]], axis=1)
            found, contexts = np.unique(pairs, axis=0, return_inverse=True)
            contexts = contexts.ravel()
            shares = [among(shares[place], log.eligible[of]) for place, of in found.tolist()]
            model = [model[place] for place, _ in found.tolist()]
        self._shares += shares
        self._model += model
        self._of_units.append(first + contexts)
        return np.array(shares)[contexts]

    def target(self, n_learned: int, lacking: float = 0.0) -> Target:
        """Return the target."""
        return Target(
            np.concatenate(self._of_units),
            np.array(self._shares),
            np.array(self._model),
            n_learned,
            lacking,
            self._is_contextual,
        )


class _Learner:
    """Knowledge of the policy from a separate run."""

    def __init__(self, log: UnitLog, own: OwnRun) -> None:
        self._log = log
        self._own = own
        self._is_taken = np.zeros(log.n_units, np.bool_)
        self._propensities = log.propensities.copy()  # of those taken, their share
        self._partial = PartialTally(log, self._propensities)
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
        self._partial.observe(news[self._is_taken[self._log.observed_units[news]]])

    def tally(self) -> Tally:
        """Return the tally of the units taken."""
        return self._partial.tally()

    def take(self, units: IntArray, shares: FloatArray) -> None:
        """Take some of the units, for which the policy had these shares."""
        chosen = shares[np.arange(len(units)), self._log.variants[units]]
        weights = chosen / self._log.probabilities[units]
        self._wanted += float(weights.sum())
        self._above_cap += float(np.maximum(weights - self._own.cap, 0.0).sum())
        is_taken = self._own.draws[units] * self._own.cap < weights
        taken = units[is_taken]
        self._is_taken[taken] = True
        self._propensities[taken] = np.maximum(1, np.rint(chosen[is_taken] * PROPENSITY_ONE))
        self._partial.assign(taken)


def _means(tally: Tally, metric: str, n_arms: int) -> list[float]:
    """Return the mean of each variant, with one unit more at the mean of all."""
    variants = [tally.variants.get(arm, VariantTally()) for arm in range(n_arms)]
    totals = [variant.metrics.get(metric, MetricTally()).total / MICRO for variant in variants]
    units = [variant.units for variant in variants]
    overall = sum(totals) / max(1, sum(units))
    return [(total + overall) / (n + 1) for total, n in zip(totals, units, strict=True)]
