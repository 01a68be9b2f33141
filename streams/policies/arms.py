"""Arms of a policy from samples of the primary metric."""

from __future__ import annotations

from collections.abc import Sequence

from streams.policies.base import Arm
from streams.stats.sample import Sample


def arms_of(
    samples: Sequence[Sample],
    weights: Sequence[float],
    *,
    is_binary: bool,
    has_mean: Sequence[bool] | None = None,
) -> tuple[Arm, ...]:
    """Return the arms of some variants.

    Args:
        samples: Samples of the primary metric, in the order of the definition.
        weights: Declared shares, which sum to 1.
        is_binary: Whether every value of every variant is 0 or 1.
        has_mean: Whether the metric of each variant has a value: a ratio may have no denominator. A
            variant without one has no units for the policy. None if all have one.
    """
    return tuple(
        Arm(
            sample.units if has_value else 0,
            sample.total,
            sample.squared_deviations,
            is_binary,
            weight,
        )
        for sample, weight, has_value in zip(
            samples, weights, has_mean or [True] * len(samples), strict=True
        )
    )


def unseen_arms(weights: Sequence[float]) -> tuple[Arm, ...]:
    """Return the arms of variants without units, with the declared shares `weights`."""
    nothing = Sample(0, 0, 0.0, 0.0, 0.0)
    return arms_of([nothing] * len(weights), weights, is_binary=True)
