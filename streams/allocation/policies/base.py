"""What every policy is: a frozen value with parameters, and a pure function from arms to shares."""

from __future__ import annotations

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
        total_squared: Sum of the squared unit values.
        is_binary: Whether every unit value of the experiment so far is 0 or 1.
        weight: Share declared in the experiment, in (0, 1]; the declared shares sum to 1.
    """

    units: int
    total: float
    total_squared: float
    is_binary: bool
    weight: float


class Policy(InputModel):
    """Parameters of a policy, and how it shares the traffic.

    Attributes:
        min_allocation: Smallest share a variant may get, in [0, 1 / number of variants]; None
            stands for min(0.01, 0.1 / number of variants). It keeps every propensity above zero,
            which every unbiased estimate from the log needs.
    """

    type: ClassVar[str]
    adaptive: ClassVar[bool]
    """Whether the shares depend on what was observed."""

    min_allocation: float | None = Field(default=None, ge=0.0, le=0.5)

    @abstractmethod
    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the share of each arm before the floor: shape (n_arms,), >= 0, sums to 1."""
