"""From a published model to the integer weights of one request."""

from __future__ import annotations

from collections.abc import Sequence

from streams.model.vectors import Vector
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.model import LinearModel
from streams.policies.draw_tables import DrawTable, draw_table
from streams.policies.weights import floor, weights_of
from streams.stats.arrays import FloatArray

REMEMBERED = 4_096
"""Contexts, each with the eligible variants, of which the weights are kept, so that one that comes
again costs a look-up. When there are more, all are forgotten: a snapshot that moves does as much
every second."""


class Scorer:
    """A published model, compiled: weights for each context, as `allocate` gives for all.

    The integer weights are what the hash of the unit is held against, and the propensity in the
    receipt is the weight over 65,536: the probability with which it was chosen, and not an
    estimate of it. A process that rounds differently gets other weights and logs those.

    Args:
        policy: The policy of the experiment.
        model: Posterior of the rewards, of the active variants.
        active: Their indices among all, ascending; None if there are no others.
        n_variants: How many there are in all; not read if there are no others.
    """

    __slots__ = ("_active", "_known", "_least", "_model", "_n_variants", "_policy")

    def __init__(
        self,
        policy: ContextualPolicy,
        model: LinearModel,
        active: Sequence[int] | None = None,
        n_variants: int = 0,
    ) -> None:
        self._active = active
        self._n_variants = n_variants
        self._policy = policy
        self._model = model
        self._least = floor(policy, len(model.coefficients), model.units)
        self._known: dict[tuple[Vector, int | None], DrawTable] = {}

    def weights(self, vector: Vector) -> tuple[int, ...]:
        """Return the integer weights of the variants in a context, which sum to 65,536."""
        means, deviations = self._model.estimates(vector)
        shares = self._policy.shares_in_context(means, deviations)
        weights = weights_of(shares, self._least)
        if self._active is None:
            return weights
        found = [0] * self._n_variants
        for index, weight in zip(self._active, weights, strict=True):
            found[index] = weight
        return tuple(found)

    def means(self, vector: Vector) -> FloatArray:
        """Return what each variant is believed to earn in a context; shape (n_arms,)."""
        means, _ = self._model.estimates(vector)
        return means

    def table(self, vector: Vector, eligible: int | None = None) -> DrawTable:
        """Return the table of the weights in a context.

        Args:
            vector: The context of the request.
            eligible: As for `draw_table`.
        """
        key = vector, eligible
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = draw_table(self.weights(vector), eligible)
        return known
