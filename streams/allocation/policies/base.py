"""What every policy is: a frozen value with parameters, and a pure function from arms to shares."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from streams.domain.validation import InputModel


@dataclass(frozen=True, slots=True)
class Arm:
    """What a policy may know of one variant: the merged tally of its primary metric.

    Attributes:
        units: Units assigned to it, >= 0.
        total: Sum of the unit values, in units of the metric.
        squared_deviations: Sum of the squared deviations of the unit values from their mean, >= 0.
            Not the sum of squares: the difference of two large sums is taken in integers, before.
        is_binary: Whether every unit value of the experiment so far is 0 or 1.
        weight: Share declared in the experiment, in (0, 1]; the declared shares sum to 1.
    """

    units: int
    total: float
    squared_deviations: float
    is_binary: bool
    weight: float


class Policy(InputModel):
    """Parameters of a policy, and how it shares the traffic.

    Attributes:
        min_allocation: Smallest share a variant may get, in [0, 1 / number of variants]; None
            stands for min(0.01, 0.1 / number of variants) under an adaptive policy, and for 0 under
            a fixed one. It keeps every propensity above zero, which every unbiased estimate from
            the log needs.
    """

    type: ClassVar[str]
    adaptive: ClassVar[bool]
    """Whether the shares depend on what was observed."""

    min_allocation: float | None = Field(default=None, ge=0.0, le=0.5)

    @abstractmethod
    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the share of each arm before the floor: shape (n_arms,), >= 0, sums to 1."""


def leaders(scores: Sequence[float]) -> tuple[float, ...]:
    """Return equal shares of the arms with the largest score, and 0 for the others.

    >>> leaders([1.0, 3.0, 3.0])
    (0.0, 0.5, 0.5)
    """
    best = max(scores)
    share = 1.0 / sum(score == best for score in scores)
    return tuple(share if score == best else 0.0 for score in scores)


def pooled_deviation(arms: Sequence[Arm]) -> float:
    """Return the standard deviation of the unit values within the arms; 1 if they do not vary."""
    units = sum(arm.units for arm in arms)
    spread = math.fsum(arm.squared_deviations for arm in arms)
    return math.sqrt(spread / units) if spread > 0.0 and units else 1.0
