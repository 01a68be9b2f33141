"""Counts of units by the values of their dimensions."""

from __future__ import annotations

from collections.abc import Iterable

from streams.fold.cohorts import counted
from streams.tallies.builder import CellBuilder
from streams.tallies.fields import Chance


def add_to_slices(
    builder: CellBuilder, units: Iterable[tuple[Chance, bytes]], count: int = 1
) -> None:
    """Add units to the slices of a cell.

    Args:
        builder: The cell.
        units: Chance of each, and its values as in the receipt.
        count: How often each is added; -1 to take them out again.
    """
    for (chance, packed), n_units in counted(units).items():
        for sums in builder.slices(packed):
            sums.add_units({chance: count * n_units})


def add_assigned_to_slices(
    builder: CellBuilder, units: Iterable[tuple[int, bytes]], count: int = 1
) -> None:
    """Add units that count once they are exposed, by variant; arguments as in `add_to_slices`."""
    for (variant, packed), n_units in counted(units).items():
        for sums in builder.slices(packed):
            sums.add_assigned_units({variant: count * n_units})
