"""Interface of the contextual policies: declared features, and shares for each request."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from streams.model.validation import JsonList
from streams.model.vectors import MAX_ENTRIES
from streams.policies.base import Arm, Policy
from streams.policies.contextual.features import Feature, check_features
from streams.stats.arrays import FloatArray


class ContextualPolicy(Policy):
    """A policy that allocates the traffic by features of each request.

    Rewards are modelled as linear in the features, separately for each variant. If they are not,
    the best linear approximation is learnt; the propensities are exact in any case.

    Attributes:
        features: Features of a request that it reads; 1 to 32.
        alpha: Exploration, > 0, in standard deviations of the expected reward. 1 follows the model.
        ridge: Weight of the prior that all coefficients are 0, in units per entry, > 0.
    """

    adaptive: ClassVar[bool] = True
    hold_units: ClassVar[int] = 10
    """Fewer than elsewhere: a variant's model learns in the contexts where it has traffic for all
    others, so exploring evenly costs more than it yields."""
    final_part: ClassVar[float] = 0.1

    features: Annotated[tuple[Feature, ...], JsonList(min_length=1, max_length=MAX_ENTRIES)]
    alpha: float = Field(default=1.0, gt=0.0, le=1e6)
    ridge: float = Field(default=1.0, ge=1e-6, le=1e9)

    @model_validator(mode="after")
    def _check_space(self) -> Self:
        check_features(self.features)
        return self

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return equal shares: without a context this policy has no preference."""
        return (1.0 / len(arms),) * len(arms)

    @abstractmethod
    def shares_in_context(self, means: FloatArray, deviations: FloatArray) -> Sequence[float]:
        """Return the share of each arm for one request, before the floor: >= 0, sums to 1.

        Args:
            means: Posterior mean reward of each arm in this context; shape (n_arms,).
            deviations: Posterior standard deviations; shape (n_arms,), > 0.
        """
