"""Losses of contextual policies in logistic environments, through the code of production.

Rewards are clicks whose log odds are linear in the context, so the linear models of the policies
are wrong about them, as they are about real clicks. Contexts, and the luck of the clicks, are the
same for all policies of an environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mabwiser.mab import MAB, LearningPolicy
from numpy.typing import NDArray

from streams.model.quantities import ALLOCATION_TOTAL, MICRO
from streams.model.vectors import FEATURE_ONE, Vector
from streams.policies.arms import arms_of
from streams.policies.base import pooled_deviation
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import Feature, FeatureType
from streams.policies.contextual.model import LinearModel
from streams.policies.contextual.scoring import Scorer
from streams.stats.arrays import FloatArray
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally
from streams.tallies.linear import LinearTally

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EnvironmentFamily:
    """Environments of one kind.

    Attributes:
        name: What tables call it.
        n_arms: Variants.
        numbers: Features that are numbers, uniform in [-1, 1].
        categories: Values of each feature that is a category, all equally likely.
        rate: Click rate of a variant in the middle, in (0, 1).
        spread: Standard deviation of the log odds of the variants.
        slope: Standard deviation of what an entry adds to the log odds of a variant.
    """

    name: str
    n_arms: int
    numbers: int
    categories: tuple[int, ...]
    rate: float
    spread: float
    slope: float

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features as an experiment declares them."""
        numbers = (
            Feature(name=f"n{place}", type=FeatureType.NUMBER, minimum=-1.0, maximum=1.0)
            for place in range(self.numbers)
        )
        categories = (
            Feature(name=f"c{place}", type=FeatureType.CATEGORY, values=tuple(map(str, range(n))))
            for place, n in enumerate(self.categories)
        )
        return (*numbers, *categories)


NUMBERS = EnvironmentFamily("5 numbers, 10 %", 10, 5, (), 0.1, 0.3, 0.7)
CATEGORIES = EnvironmentFamily("2 categories of 4, 5 %", 10, 0, (4, 4), 0.05, 0.5, 0.5)
MIXED = EnvironmentFamily("3 numbers and a category of 3, 30 %", 10, 3, (3,), 0.3, 0.3, 0.5)


class Chooser(Protocol):
    """A policy in one environment."""

    def choose(self, contexts: IntArray, random: np.random.Generator) -> IntArray:
        """Return the variants of the units of a batch.

        Args:
            contexts: Entries in steps of 1/1,024; shape (n_units, dimension).
            random: Source of its draws.
        """

    def learn(self, contexts: IntArray, chosen: IntArray, clicks: IntArray) -> None:
        """Take the rewards of a batch."""


class Production:
    """A policy as workers and API have it: integer tallies, a model, and integer weights.

    Args:
        policy: With its floors.
        n_arms: Variants.
    """

    def __init__(self, policy: ContextualPolicy, n_arms: int) -> None:
        self._policy = policy
        self._dimension = FeatureSpace(policy.features).dimension
        self._grams = np.zeros((n_arms, self._dimension, self._dimension), np.int64)
        self._moments = np.zeros((n_arms, self._dimension), np.int64)

    def choose(self, contexts: IntArray, random: np.random.Generator) -> IntArray:
        """Return the variants that the published weights of each context draw."""
        scorer = Scorer(self._policy, self._model())
        weights = np.array([scorer.weights(_vector(row)) for row in contexts.tolist()])
        buckets = random.integers(ALLOCATION_TOTAL, size=(len(contexts), 1))
        chosen: IntArray = (weights.cumsum(axis=1) <= buckets).sum(axis=1)
        return chosen

    def learn(self, contexts: IntArray, chosen: IntArray, clicks: IntArray) -> None:
        """Add to the tallies."""
        for arm in np.unique(chosen).tolist():
            of_arm = contexts[chosen == arm]
            self._grams[arm] += of_arm.T @ of_arm
            self._moments[arm] += of_arm.T @ clicks[chosen == arm]

    def _model(self) -> LinearModel:
        rows, columns = np.tril_indices(self._dimension)
        tallies = [
            LinearTally(tuple(gram[rows, columns].tolist()), tuple((moment * MICRO).tolist()))
            for gram, moment in zip(self._grams, self._moments, strict=True)
        ]
        units = (self._grams[:, 0, 0] // FEATURE_ONE**2).tolist()
        clicks = (self._moments[:, 0] // FEATURE_ONE).tolist()
        metrics = [MetricTally(n, n, n * MICRO, n * MICRO**2) for n in clicks]
        samples = [Sample.of(n, metric) for n, metric in zip(units, metrics, strict=True)]
        arms = arms_of(samples, [1.0 / len(units)] * len(units), is_binary=True)
        return LinearModel.fit(
            tallies,
            self._dimension,
            noise=pooled_deviation(arms),
            units=sum(units),
            ridge=self._policy.ridge,
        )


class Drawn(Production):
    """Linear Thompson sampling without a floor whose draws are drawn, and from where is open.

    Args:
        policy: Its alpha and ridge are used.
        n_arms: Variants.
        draws: Gives deviations from the mean for numbers of units and of variants; its shape is
            (n_units, n_arms), or (n_units, 1) for draws that all variants have in common.
    """

    def __init__(self, policy: ContextualPolicy, n_arms: int, draws: Draws) -> None:
        super().__init__(policy, n_arms)
        self._draws = draws

    def choose(self, contexts: IntArray, random: np.random.Generator) -> IntArray:
        """Return the variants with the largest values drawn; the first of equal ones at random."""
        model = self._model()
        entries = contexts / FEATURE_ONE
        squares = np.einsum("ui,kij,uj->uk", entries, model.covariance, entries)
        deviations = self._policy.alpha * model.noise * np.sqrt(squares)
        drawn = self._draws(random, len(contexts), deviations.shape[1])
        values = entries @ model.coefficients.T + drawn * deviations
        is_largest = values >= values.max(axis=1, keepdims=True) * (1.0 - _EQUAL)
        chosen: IntArray = (is_largest * random.random(values.shape)).argmax(axis=1)
        return chosen


Draws = Callable[[np.random.Generator, int, int], FloatArray]
_EQUAL = 1e-12

DRAWS: Mapping[str, Draws] = {
    "independent": lambda random, units, arms: random.standard_normal((units, arms)),
    "common": lambda random, units, _: random.standard_normal((units, 1)),
    "above": lambda random, units, _: np.abs(random.standard_normal((units, 1))),
}


class MABWiser:
    """A policy of another library, which begins with a batch that is split evenly.

    Args:
        policy: `LearningPolicy.LinTS` or `LearningPolicy.LinUCB`.
        n_arms: Variants.
        seed: Seed of its draws.
    """

    def __init__(self, policy: object, n_arms: int, seed: int) -> None:
        self._n_arms = n_arms
        self._bandit = MAB(list(range(n_arms)), policy, seed=seed)
        self._is_fitted = False

    def choose(self, contexts: IntArray, random: np.random.Generator) -> IntArray:
        """Return what it predicts."""
        if not self._is_fitted:
            return random.integers(self._n_arms, size=len(contexts))
        return np.array(self._bandit.predict(contexts / FEATURE_ONE))

    def learn(self, contexts: IntArray, chosen: IntArray, clicks: IntArray) -> None:
        """Fit, and later fit more."""
        fit = self._bandit.partial_fit if self._is_fitted else self._bandit.fit
        fit(chosen, clicks, contexts / FEATURE_ONE)
        self._is_fitted = True


THEIRS = {
    f"{name} {alpha:g}": kind(alpha=alpha)
    for name, kind in (("LinTS", LearningPolicy.LinTS), ("LinUCB", LearningPolicy.LinUCB))
    for alpha in (0.1, 0.25, 0.5)
}
"""Settings that MABWiser is tried with: its deviations are those of rewards with noise 1, so click
rates of 5 to 30 % ask for a fifth to a half of it; 1 loses more than 0.5 everywhere."""


def lost(
    family: EnvironmentFamily,
    environment: int,
    chooser: Chooser,
    horizon: int,
    batch: int,
    seed: int,
) -> float:
    """Return the expected clicks lost in one environment against the best variant of each context.

    Args:
        family: Kind of the environment.
        environment: Its number, of which rates, contexts and luck follow.
        chooser: A policy that knows nothing yet.
        horizon: Units.
        batch: Units between two models.
        seed: Seed of the environments.
    """
    random = np.random.default_rng([seed, environment])
    own = np.random.default_rng([seed, environment, 1])
    n_entries = family.numbers + sum(family.categories)
    odds = np.log(family.rate / (1.0 - family.rate))
    odds = odds + family.spread * random.standard_normal(family.n_arms)
    slopes = family.slope * random.standard_normal((family.n_arms, n_entries))
    loss = 0.0
    for start in range(0, horizon, batch):
        contexts = _contexts(family, min(batch, horizon - start), random)
        scores = odds + contexts[:, 1:] @ slopes.T / FEATURE_ONE
        rates = 1.0 / (1.0 + np.exp(-scores))
        luck = random.random(len(contexts))
        chosen = chooser.choose(contexts, own)
        found = rates[np.arange(len(contexts)), chosen]
        loss += float((rates.max(axis=1) - found).sum())
        chooser.learn(contexts, chosen, (luck < found).astype(np.int64))
    return loss


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return the ratio of two mean losses in the same environments, and its standard error.

    The error is that of the delta method for paired means.
    """
    own, other = np.array(ours), np.array(theirs)
    found = float(own.mean() / other.mean())
    residuals: FloatArray = own - found * other
    return found, float(residuals.std(ddof=1) / len(own) ** 0.5 / other.mean())


def _contexts(family: EnvironmentFamily, n_units: int, random: np.random.Generator) -> IntArray:
    """Return contexts as `FeatureSpace` encodes them, with the intercept."""
    columns: list[IntArray] = [np.full((n_units, 1), FEATURE_ONE)]
    columns.append(random.integers(-FEATURE_ONE, FEATURE_ONE + 1, (n_units, family.numbers)))
    columns.extend(
        FEATURE_ONE * np.eye(n_values, dtype=np.int64)[random.integers(n_values, size=n_units)]
        for n_values in family.categories
    )
    return np.concatenate(columns, axis=1)


def _vector(row: Sequence[int]) -> Vector:
    return tuple((index, value) for index, value in enumerate(row) if value)
