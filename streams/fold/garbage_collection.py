"""Thresholds of the cyclic garbage collector in processes that fold."""

from __future__ import annotations

import gc

PENDING = 50_000
"""Allocations before the youngest generation is collected. A fetch creates 20,000 live records; the
default of 700 would traverse them 28 times."""

YOUNG_COLLECTIONS = 20
"""Collections of a generation before the next older one is also collected."""


def collect_seldom() -> None:
    """Freeze all current objects and collect rarely; to be called after all imports.

    Neither records nor state form cycles, so counting references frees them all at once. With the
    usual thresholds the collector took 28 % of a worker's processor time.
    """
    gc.freeze()
    gc.set_threshold(PENDING, YOUNG_COLLECTIONS, YOUNG_COLLECTIONS)
