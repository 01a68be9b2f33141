"""Merging of cells: the newest one of every partition, added up.

`join` keeps the newer of two cells and `merge` joins and adds, so lost, duplicated or reordered
cells are harmless: a join-semilattice under a commutative monoid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import attrgetter

from streams.model.errors import InvalidParameterError
from streams.tallies.cell import (
    CELL_COUNTS,
    NO_EVENT_MS,
    Cell,
    Source,
    Tally,
    VariantTally,
    add_counts,
    add_slices,
    add_variants,
)
from streams.tallies.cohorts import ByCohort, Cohort, seen_at
from streams.tallies.heavy_units import heaviest


def join(left: Cell, right: Cell) -> Cell:
    """Return the newer of two cells of the same experiment, source and partition.

    It is associative, commutative and idempotent, because a partition has only one history: cells
    of the same place and `last_offset` are equal.

    Raises:
        InvalidParameterError: the cells are of different places.
    """
    if _place(left) != _place(right):
        raise InvalidParameterError("right", _place(right), f"at {_place(left)!r}")
    return left if left.last_offset >= right.last_offset else right


def merge(cells: Iterable[Cell], clock_ms: int = 0) -> Tally:
    """Return the sum of the newest cell of every place.

    Args:
        cells: Cells of one experiment in any order; older ones of a place do not count.
        clock_ms: Lower bound of the current time besides the newest event; units mature by it.

    Raises:
        InvalidParameterError: the cells are of different experiments.
    """
    newest: dict[tuple[int, Source, int], Cell] = {}
    for cell in cells:
        place = _place(cell)
        known = newest.get(place)
        newest[place] = cell if known is None else join(known, cell)
    if len({experiment for experiment, _, _ in newest}) > 1:
        raise InvalidParameterError("cells", sorted(newest), "of one experiment")
    if not newest:
        return Tally()
    chosen = tuple(newest[place] for place in sorted(newest))
    counts = {
        name: reduce(merged, map(attrgetter(name), chosen)) for name, merged in CELL_COUNTS.items()
    }
    if counts["first_at_ms"] == NO_EVENT_MS:
        counts["first_at_ms"] = 0
    unremembered = sum(cell.unremembered for cell in chosen if cell.source is Source.IMPRESSIONS)
    counts["unremembered"] -= unremembered
    return Tally(
        **counts,
        variants=add_variants(*(cell.variants for cell in chosen)),
        cells=chosen,
        unremembered_units=unremembered,
        mature=_mature(chosen, max(counts["last_at_ms"], clock_ms)),
        voids=reduce(add_counts, (cell.voids for cell in chosen)),
        outside=reduce(add_counts, (cell.outside for cell in chosen)),
        heavy=heaviest((unit for cell in chosen for unit in cell.heavy), limit=_NO_LIMIT),
        slices=reduce(add_slices, (cell.slices for cell in chosen)),
    )


_NO_LIMIT = 1 << 30


def cohorts_at(
    now_ms: int, cohorts: Iterable[tuple[Cohort, Mapping[int, VariantTally]]]
) -> ByCohort[Mapping[int, VariantTally]]:
    """Return the tallies of cohorts at the time of the newest event."""
    return seen_at(now_ms, cohorts, add_variants)


def _mature(cells: Iterable[Cell], now_ms: int) -> dict[int, Mapping[int, VariantTally]]:
    """Return the units whose window is over by the newest event of all cells."""
    over = (each for cell in cells for each in cell.cohorts.items() if each[0].is_over(now_ms))
    return {cohort.window_s: tally for cohort, tally in cohorts_at(now_ms, over).items()}


def _place(cell: Cell) -> tuple[int, Source, int]:
    return cell.experiment, cell.source, cell.partition
