"""Arrays by pair of variants: what is counted of variant a beside variant b is at [a, b]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.stats.arrays import FloatArray
from streams.tallies.pair_sums import unpack_pairs


def by_pair(sums: Sequence[int], one: int) -> FloatArray:
    """Return sums by pair as floats, in which `one` stands for 1; zeros where no sums are kept.

    Args:
        sums: Those of every variant, packed.
        one: Representation of 1.
    """
    n_variants = len(sums)
    found = np.zeros((n_variants, n_variants))
    for own, each in enumerate(sums):
        digits = unpack_pairs(each)[:n_variants]
        found[own, : len(digits)] = digits
    return found / one


def in_every_pair(values: FloatArray) -> FloatArray:
    """Return values by pair of those of single variants, which are the same in every comparison.

    Args:
        values: Shape (..., n_variants).
    """
    # A few numbers are added sooner than `np.broadcast_to` has looked at its arguments.
    return values[..., None] + np.zeros(values.shape[-1])
