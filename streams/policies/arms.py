"""From samples of the primary metric to the arms that a policy sees."""

from __future__ import annotations

from collections.abc import Sequence

from streams.policies.base import Arm
from streams.stats.sample import Sample


def arms_of(
    samples: Sequence[Sample], weights: Sequence[float], *, is_binary: bool
) -> tuple[Arm, ...]:
    """Return the arms of some variants.

    Args:
        samples: Samples of the primary metric, in the order of the definition.
        weights: Declared shares, which sum to 1.
        is_binary: Whether every value of every variant is 0 or 1.
    """
    return tuple(
        Arm(sample.units, sample.total, sample.squared_deviations, is_binary, weight)
        for sample, weight in zip(samples, weights, strict=True)
    )


def unseen_arms(weights: Sequence[float]) -> tuple[Arm, ...]:
    """Return the arms of variants without units, which have the declared shares `weights`."""
    nothing = Sample(0, 0, 0.0, 0.0, 0.0)
    return arms_of([nothing] * len(weights), weights, is_binary=True)
