"""Integer weights of one request from a published model."""

from __future__ import annotations

from collections.abc import Sequence

from streams.model.vectors import Vector
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.model import LinearModel
from streams.policies.draw_tables import DrawTable, draw_table
from streams.policies.weights import floor, weights_of
from streams.stats.arrays import FloatArray

REMEMBERED = 4_096
"""Cached weights by context and eligible variants. When there are more, the cache is cleared: a
changing snapshot clears it every second anyway."""


class Scorer:
    """A published model, compiled: weights for each context, like those of `allocate` for all.

    The hash of the unit is compared with the integer weights, and the propensity in the receipt is
    the weight over 65,536: the exact probability of the choice, not an estimate. A process that
    rounds differently gets other weights and logs those.

    Args:
        policy: The policy of the experiment.
        model: Posterior of the rewards, of the active variants.
        active: Their indices among all, ascending; None if all are active.
        n_variants: Number of all variants; not read if all are active.
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
        """Return the expected reward of each variant in a context; shape (n_arms,)."""
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
