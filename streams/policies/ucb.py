"""Upper confidence bounds: all traffic to the arm with the largest bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, assert_never

from pydantic import Field, model_validator

from streams.model.validation import problem
from streams.policies.base import Arm, Policy, leaders, pooled_deviation

LARGEST_VARIANCE = 0.25
"""Variance that values in [0, 1] cannot exceed."""

SMALLEST_MEAN = 1e-300
"""Mean that is treated as 0, so that a ratio to it is finite."""

_NEWTON_STEPS = 64


class UCBVariant(StrEnum):
    """Form of the upper confidence bound."""

    UCB1 = "ucb1"
    """Hoeffding's inequality, for any values in [0, 1] regardless of their variance."""
    TUNED = "ucb_tuned"
    """Bound by the observed variance: tighter for rates near 0 and 1."""
    KL = "kl_ucb"
    """Bound by the likelihood ratio: asymptotically optimal for 0 and 1."""


_DEFAULT_C: dict[str, float] = {UCBVariant.UCB1: 2.0, UCBVariant.KL: 3.0}


class UCB(Policy):
    """Everything to the largest upper bound of the mean, after t units of which the arm has n.

    - `ucb1`: mean + c sqrt(ln t / n).
    - `ucb_tuned`: mean + sqrt(ln t / n · min(1/4, variance + sqrt(2 ln t / n))).
    - `kl_ucb`: the largest q with n · kl(mean, q) <= ln t + c ln ln t, where kl is the divergence
      of Bernoulli distributions.

    Arms without a unit come first; arms that tie share equally. The bounds assume values in [0, 1].
    The range of a metric that is not binary is unknown, so its values are scaled by their standard
    deviation within the arms, the variance of `ucb_tuned` is not capped, and kl is that of Normal
    distributions, (mean - q)^2 / 2.

    Attributes:
        variant: Kind of bound. `ucb1` is the simplest and explores the most: on click rates of a
            few per cent its regret is several times that of the others.
        c: Width of `ucb1`, > 0 and 2 unless stated; sqrt(2) is UCB1 as published. Under `kl_ucb`
            the c of its paper, >= 0 and 3 unless stated; 3 is what the proof needs, and 0 is what
            the authors recommend in practice: it halves the regret on click rates of a few per
                cent. `ucb_tuned` has none.

    Source: Auer, Cesa-Bianchi and Fischer (2002), figure 1 (UCB1) and section 4 (UCB-Tuned);
        Garivier and Cappé (2011), "The KL-UCB algorithm for bounded stochastic bandits and beyond",
        algorithm 1 and section 5 (other exponential families).
    """

    type: ClassVar[str] = "ucb"
    adaptive: ClassVar[bool] = True

    variant: Annotated[UCBVariant, Field(strict=False)] = UCBVariant.UCB1
    c: float | None = Field(default=None, ge=0.0, le=1e6)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("c") is not None:
            return data
        variant = data.get("variant", UCBVariant.UCB1)
        return {**data, "c": _DEFAULT_C.get(variant) if isinstance(variant, str) else None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.variant not in _DEFAULT_C and self.c is not None:
            raise problem("PARAMETER_NOT_USED", f"{self.variant} has no c", "c")
        if self.variant is UCBVariant.UCB1 and self.c == 0.0:
            raise problem("OUT_OF_RANGE", "c == 0, must be above 0: it would not explore", "c")
        return self

    def shares(self, arms: Sequence[Arm]) -> tuple[float, ...]:
        """Return equal shares of the arms with the largest bound, and 0 for the others."""
        return leaders(self.bounds(arms))

    def bounds(self, arms: Sequence[Arm]) -> list[float]:
        """Return the upper bound of each arm, in units of the metric; infinite without a unit."""
        log_t = math.log(max(1, sum(arm.units for arm in arms)))
        is_binary = all(arm.is_binary for arm in arms)
        scale = 1.0 if is_binary else pooled_deviation(arms)
        return [
            arm.total / arm.units + scale * self._reach(arm, scale, log_t, is_binary=is_binary)
            if arm.units
            else math.inf
            for arm in arms
        ]

    def _reach(self, arm: Arm, scale: float, log_t: float, *, is_binary: bool) -> float:
        """Return the distance of the bound from the mean, in units of `scale`."""
        c = self.c or 0.0
        match self.variant:
            case UCBVariant.UCB1:
                return c * math.sqrt(log_t / arm.units)
            case UCBVariant.TUNED:
                variance = _variance(arm) / (scale * scale) + math.sqrt(2.0 * log_t / arm.units)
                largest = LARGEST_VARIANCE if is_binary else math.inf
                return math.sqrt(log_t / arm.units * min(largest, variance))
            case UCBVariant.KL:
                level = (log_t + c * math.log(max(1.0, log_t))) / arm.units
                if not is_binary:
                    return math.sqrt(2.0 * level)
                mean = arm.total / arm.units
                return bernoulli_reach(mean, level)
            case _:
                assert_never(self.variant)


def bernoulli_reach(mean: float, level: float) -> float:
    """Return the largest d with kl(mean, mean + d) <= level, for Bernoulli distributions.

    By Newton's method on a convex function, from the right, where every step stays right of the
    root. Equal arguments give equal results on every machine with the same `log`.

    Args:
        mean: In [0, 1], taken for 0 up to `SMALLEST_MEAN`.
        level: >= 0.

    Examples:
        >>> bernoulli_reach(0.0, 0.5) == -math.expm1(-0.5)
        True
    """
    rest = 1.0 - mean
    if mean <= SMALLEST_MEAN:
        return -math.expm1(-level)  # kl(0, q) = -ln(1 - q)
    if rest <= 0.0 or level <= 0.0:
        return 0.0
    # In s = -ln((1 - q) / (1 - mean)), which tends to infinity as q tends to 1: kl = mean ln(mean /
    # q) + (1 - mean) s.
    s = (level - mean * math.log(mean)) / rest  # the root if q were 1: never left of it
    for _ in range(_NEWTON_STEPS):
        reach = -rest * math.expm1(-s)
        value = rest * s - mean * math.log1p(reach / mean) - level
        slope = rest * (1.0 - mean * math.exp(-s) / (mean + reach))
        if slope <= 0.0:
            break
        step = value / slope
        s -= step
        if step <= math.ulp(s):
            break
    return max(0.0, -rest * math.expm1(-s))


def _variance(arm: Arm) -> float:
    """Return the variance of the values of an arm."""
    if arm.is_binary:
        mean = arm.total / arm.units
        return mean * (1.0 - mean)
    return arm.squared_deviations / arm.units
