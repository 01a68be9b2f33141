"""LinUCB: in each context, all traffic to the variant with the largest upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.policies.base import leaders
from streams.policies.contextual.base import ContextualPolicy
from streams.stats.arrays import FloatArray


class LinUCB(ContextualPolicy):
    """Everything to the largest theta^T x + alpha noise sqrt(x^T A^-1 x); ties share equally.

    The paper bounds rewards by 1 and omits the noise. Here it is the standard deviation of the
    rewards within the variants, so that alpha is independent of the unit of the metric; for click
    rates of a few per cent, an alpha of 1 explores a fifth as much as in the paper.

    Source: Li, Chu, Langford and Schapire (2010), algorithm 1, line 11.
    """

    type: ClassVar[str] = "lin_ucb"

    def shares_in_context(self, means: FloatArray, deviations: FloatArray) -> Sequence[float]:
        """Return equal shares of the arms with the largest bound, and 0 for the others."""
        bounds: list[float] = (means + self.alpha * deviations).tolist()
        return leaders(bounds)
