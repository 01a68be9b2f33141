"""LinUCB: in each context, all to the variant that could earn the most in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streams.policies.base import leaders
from streams.policies.contextual.base import ContextualPolicy
from streams.stats.arrays import FloatArray


class LinUCB(ContextualPolicy):
    """Everything to the largest theta^T x + alpha noise sqrt(x^T A^-1 x); ties share equally.

    The paper bounds rewards by 1 and leaves the noise out. Here it is the deviation of the rewards
    within the variants, so that alpha means the same for a click and for a price; for click rates
    of a few per cent, an alpha of 1 explores a fifth of what it does there.

    Source: Li, Chu, Langford and Schapire (2010), algorithm 1, line 11.
    """

    type: ClassVar[str] = "lin_ucb"

    def shares_in_context(self, means: FloatArray, deviations: FloatArray) -> Sequence[float]:
        """Return equal shares of the arms with the largest bound, and 0 for the others."""
        bounds: list[float] = (means + self.alpha * deviations).tolist()
        return leaders(bounds)
