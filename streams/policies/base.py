"""Interface of the policies: frozen parameters, and a pure function from arms to shares."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pydantic import Field, model_validator

from streams.model.validation import InputModel, problem
from streams.stats.posteriors.base import LARGEST_PRIOR, SMALLEST_PRIOR


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant from the view of a policy: sums of its primary metric.

    Attributes:
        units: Units assigned to it, >= 0; fractional with weights by time.
        total: Sum of the unit values, in units of the metric.
        squared_deviations: Sum of the squared deviations of the unit values from their mean, >= 0.
            Not the sum of squares: the difference of two large sums is taken in integers, before.
        is_binary: Whether every unit value of the experiment so far is 0 or 1.
        weight: Share declared in the experiment, in (0, 1]; the declared shares sum to 1.
    """

    units: float
    total: float
    squared_deviations: float
    is_binary: bool
    weight: float

    def mirrored(self) -> Arm:
        """Return the arm of the metric with the direction reversed.

        Policies maximise, so a metric that should decrease is mirrored first: 0 and 1 are
        exchanged, so that a binary metric stays binary, and any other value is negated. The
        variance is unchanged, so a policy treats both directions alike, and mirroring twice
        restores the arm.

        >>> Arm(10, 3.0, 2.1, is_binary=True, weight=0.5).mirrored().total
        7.0
        """
        total = self.units - self.total if self.is_binary else -self.total
        return replace(self, total=total)


class Policy(InputModel):
    """Parameters of a policy, and its allocation of the traffic.

    Attributes:
        min_allocation: Smallest share a variant may get, in [0, 1 / number of variants]; None means
            0 under a fixed policy, and min(0.01, 0.1 / number of variants) under an adaptive one,
            of which a contextual policy finally keeps a tenth. It keeps every propensity above
            zero, as required by unbiased estimates from the log. An experiment with automatic
            promotion has a higher one.
        initial_allocation: Smallest share of a variant at the beginning, at least `min_allocation`,
            towards which it falls with the square root of the units. None means `min_allocation`
            from the beginning; under a contextual policy that states neither, min(0.01, 0.1 /
            number of variants). See `streams.policies.weights.floor`.
    """

    type: ClassVar[str]
    adaptive: ClassVar[bool]
    """Whether the shares depend on what was observed."""
    compares_means: ClassVar[bool] = False
    """Whether shares depend on comparisons of the arms, so that units of different times must be
    made comparable. A policy with exploration by counts gets unweighted units."""
    hold_units: ClassVar[int] = 100
    """Units per arm before a falling floor starts to fall: as many as distinguish a click rate of a
    few per cent from zero."""
    final_part: ClassVar[float] = 1.0
    """Final part of the default floor, in (0, 1]; 1 for a constant floor."""

    min_allocation: float | None = Field(default=None, ge=0.0, le=0.5)
    initial_allocation: float | None = Field(default=None, ge=0.0, le=0.5)

    @model_validator(mode="after")
    def _check_floors(self) -> Self:
        first = self.initial_allocation
        if first is not None and not self.adaptive:
            message = f"{self.type} does not explore, so its floor does not fall"
            raise problem("PARAMETER_NOT_USED", message, "initialAllocation")
        if first is not None and first < (self.min_allocation or 0.0):
            message = f"initialAllocation == {first}, must be >= minAllocation"
            raise problem("FLOOR_RISES", message, "initialAllocation")
        return self

    @abstractmethod
    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return the share of each arm before the floor: shape (n_arms,), >= 0, sums to 1."""

    def winner_threshold(self, significance: float) -> float:
        """Return the P(best) that a winner needs.

        Args:
            significance: The significance threshold of the experiment.
        """
        return significance

    def mirrored(self) -> Self:
        """Return the policy for mirrored arms.

        It is the policy itself, unless a prior has successes and failures: these are exchanged,
        because a prior belongs to the metric and not to its direction.
        """
        return self


class BetaPolicy(Policy):
    """A policy with a Beta prior of a binary metric.

    Attributes:
        prior_alpha: Pseudo-successes of the Beta prior, in [0.01, 1e9]. Used while the metric is
            binary; other metrics have the weak Normal prior of `NormalPosterior.observed`.
        prior_beta: Pseudo-failures of the Beta prior, in [0.01, 1e9].
    """

    prior_alpha: float = Field(default=1.0, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)
    prior_beta: float = Field(default=1.0, ge=SMALLEST_PRIOR, le=LARGEST_PRIOR)

    def mirrored(self) -> Self:
        """Return the policy with successes and failures of the prior exchanged."""
        return self.model_copy(
            update={"prior_alpha": self.prior_beta, "prior_beta": self.prior_alpha}
        )


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
