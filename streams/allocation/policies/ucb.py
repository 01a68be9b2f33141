"""Upper confidence bound: all to the arm that could be the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from streams.allocation.policies.base import Arm, Policy, leaders, pooled_deviation


class UCB(Policy):
    """Everything to the largest mean + c sqrt(ln t / n), where t is the sum of all n.

    Arms without a unit come first; arms that tie share equally. The bound supposes values in
    [0, 1]. The range of a metric that is not binary is unknown, so its values are counted in their
    standard deviation within the arms.

    Attributes:
        c: Width of the bound, > 0. sqrt(2) is UCB1; a larger one explores more.

    Source: Auer, Cesa-Bianchi and Fischer (2002), figure 1 (UCB1), with `c` for sqrt(2).
    """

    type: ClassVar[str] = "ucb"
    adaptive: ClassVar[bool] = True

    c: float = Field(default=2.0, gt=0.0, le=1e6)

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return equal shares of the arms with the largest bound, and 0 for the others."""
        log_t = math.log(max(1, sum(arm.units for arm in arms)))
        scale = 1.0 if all(arm.is_binary for arm in arms) else pooled_deviation(arms)
        return leaders(
            [
                arm.total / arm.units + self.c * scale * math.sqrt(log_t / arm.units)
                if arm.units
                else math.inf
                for arm in arms
            ]
        )
