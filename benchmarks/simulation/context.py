"""Experiments under contextual policies, simulated through the code of production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulation.production import METRIC, Cells
from streams.analysis.evaluate import evaluate
from streams.experiments.contextual import scorer_of
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.stats.arrays import FloatArray
from streams.tallies.cell import Tally


@dataclass(frozen=True, slots=True, eq=False)
class Contexts:
    """Kinds of requests.

    Attributes:
        feature: Name of the feature that distinguishes them.
        values: Its value of each kind.
        shares: Share of each kind by look, which sum to 1; shape (n_looks, n_kinds).
        rates: Conversion rates, in [0, 1]; shape (n_kinds, n_variants).
        units: Units between two looks.
    """

    feature: str
    values: Sequence[str]
    shares: FloatArray
    rates: FloatArray
    units: int

    @property
    def means(self) -> FloatArray:
        """Conversion rate of each variant over all requests; shape (n_variants,)."""
        means: FloatArray = self.shares.mean(axis=0) @ self.rates
        return means


def simulate_contexts(
    experiment: Experiment, contexts: Contexts, generator: np.random.Generator
) -> Snapshot:
    """Return the last evaluation of one run, which is evaluated after every look.

    Args:
        experiment: A running experiment under a contextual policy.
        contexts: What is requested.
        generator: Source of requests, assignments and conversions.
    """
    policy = experiment.definition.policy
    assert isinstance(policy, ContextualPolicy)  # noqa: S101 - of the caller
    vectors = [FeatureSpace(policy.features).encode({contexts.feature: v}) for v in contexts.values]
    cells = Cells(contexts.rates.shape[1])
    snapshot = evaluate(experiment, Tally(), ())
    for look, shares in enumerate(contexts.shares, 1):
        assert snapshot.model is not None  # noqa: S101 - under a contextual policy there is one
        scorer = scorer_of(policy, snapshot.model)
        requested = generator.multinomial(contexts.units, shares).tolist()
        for vector, rates, n in zip(vectors, contexts.rates, requested, strict=True):
            weights = scorer.weights(vector)
            packed = pack_weights(weights)
            counts = generator.multinomial(n, np.array(weights) / ALLOCATION_TOTAL)
            converted = generator.binomial(counts, rates).tolist()
            for variant, (units, won) in enumerate(zip(counts.tolist(), converted, strict=True)):
                if not units:
                    continue
                chance = variant, weights[variant] * PROPENSITY_PER_WEIGHT, packed
                context = {(chance, vector): units}
                cells.assigned.add_units(look, {chance: units}, look, look, context)
                for _ in range(won):
                    cells.observed.add_value(look, (*chance, METRIC), None, MICRO, look, vector)
        snapshot = evaluate(experiment, cells.tally(), ())
    return snapshot
