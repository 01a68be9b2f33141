"""Counts of units by cohort: units whose conversion windows end together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from streams.model.vectors import Vector
from streams.tallies.builder import CellBuilder
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance

H = TypeVar("H", bound=Hashable)


def add_to_cohorts(
    builder: CellBuilder,
    window_s: int,
    units: Iterable[tuple[Chance, int, Vector | None]],
) -> None:
    """Add units to the cohorts of a conversion window.

    Args:
        builder: The cell.
        window_s: The window, in seconds.
        units: Chance, assignment time and features of each.
    """
    by_cohort: dict[Cohort, list[tuple[Chance, int, Vector | None]]] = {}
    for unit in units:
        by_cohort.setdefault(Cohort.of(window_s, unit[1]), []).append(unit)
    for cohort, found in by_cohort.items():
        sums = builder.cohort(cohort)
        sums.add_chances(chance for chance, _, _ in found)
        sums.add_contexts((chance, vector) for chance, _, vector in found if vector is not None)


def counted(units: Iterable[H]) -> dict[H, int]:
    """Return the count of each. Creating a Counter takes longer than counting a small group."""
    counts: dict[H, int] = {}
    for unit in units:
        counts[unit] = counts.get(unit, 0) + 1
    return counts
