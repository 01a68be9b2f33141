"""Bayesian A/B test: constant declared shares, and a Bayesian analysis of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from streams.policies.base import Arm, BetaPolicy


class BayesianAB(BetaPolicy):
    """Share = the declared weight.

    Attributes:
        early_stopping_threshold: Additional threshold of P(best) for a winner, in [0.5, 1). On its
            own it does not bound false winners under repeated looks; the confidence sequences of
            the report do.
    """

    type: ClassVar[str] = "bayesian_ab"
    adaptive: ClassVar[bool] = False

    early_stopping_threshold: float = Field(default=0.95, ge=0.5, lt=1.0)

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the declared shares."""
        return tuple(arm.weight for arm in arms)

    def winner_threshold(self, significance: float) -> float:
        """Return the larger of the two thresholds."""
        return max(significance, self.early_stopping_threshold)
