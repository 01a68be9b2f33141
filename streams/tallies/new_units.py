"""Observations of units that have none of the metric yet: most of them, and counted together.

A unit that is new adds an entry to a window and a value to a cell, in any order with all others; so
those of one bucket are one update of a dictionary. What may open or empty a bucket, be refused, or
be a repetition needs its place among the others, and is left to be looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.model.events import VerifiedObservations
from streams.tallies.partition import Ledger
from streams.tallies.window import KEY_MASK, deadlines, entry

T = TypeVar("T")


class UnitRows:
    """Verified observations with what stands for their unit and metric in a window.

    Args:
        rows: The observations.
        salts: Hash of every metric, in the order of their names.

    Attributes:
        rows: The observations.
        units: Keys of unit and metric.
    """

    __slots__ = ("rows", "units")

    def __init__(self, rows: VerifiedObservations, salts: Sequence[int]) -> None:
        self.rows = rows
        salted = rows.identities ^ np.array(salts, np.uint64)[rows.metrics]
        self.units: NDArray[np.uint64] = salted & np.uint64(KEY_MASK)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one experiment and one bucket: [start, stop) of the sorted ones."""

    experiment: int
    deadline: int
    start: int
    stop: int


def count_new_units(batch: UnitRows, ledger_of: Callable[[int], Ledger]) -> NDArray[np.int64]:
    """Count the units that are new beyond doubt.

    Args:
        batch: The observations, in order of their offsets.
        ledger_of: Returns the ledger of an experiment, to be changed.

    Returns:
        The rows that were not counted, ascending; all of an experiment where one of them changes
        something besides the sums of its metric.

    Raises:
        PlanMissingError: from `ledger_of`; nothing has been counted.
    """
    by_bucket = deadlines(batch.rows.assigned_at_ms, batch.rows.windows_s)
    order = np.lexsort((by_bucket, batch.rows.experiments))
    rows = batch.rows[order]
    units, values = batch.units[order].tolist(), rows.values.tolist()
    entries = list(map(entry, values, rows.events.tolist()))
    names = [rows.names[metric] for metric in rows.metrics.tolist()]
    keys = list(zip(rows.variants.tolist(), rows.propensities.tolist(), names, strict=True))
    times = rows.observed_at_ms.tolist()
    offsets = rows.offsets.tolist()
    left: list[int] = []
    pieces = _pieces(rows.experiments, by_bucket[order])
    grouped = groupby(pieces, key=lambda piece: piece.experiment)
    # All ledgers first: one that cannot be had must be missed before anything is counted.
    by_ledger = [(ledger_of(experiment), list(group)) for experiment, group in grouped]
    for ledger, found in by_ledger:
        first, last = found[0].start, found[-1].stop
        measurement, metrics = ledger.measurement, set(names[first:last])
        is_settled = (
            (measurement is None or measurement.are_single(metrics))
            and ledger.salts.keys() >= metrics
            and min(offsets[piece.start] for piece in found) > ledger.builder.folded
            and ledger.window.has_room({piece.deadline for piece in found}, last - first)
        )
        if not is_settled:
            left += range(first, last)
            continue
        for piece in found:
            chosen: slice | list[int] = slice(piece.start, piece.stop)
            known = set(ledger.window.known(piece.deadline, units[chosen]))
            if measurement is not None:
                known.update(measurement.refused(_column(names, chosen), _column(values, chosen)))
            if known:
                known = {piece.start + row for row in known}
                left += known
                chosen = [row for row in range(piece.start, piece.stop) if row not in known]
            if len(known) < piece.stop - piece.start:
                new = _column(units, chosen), _column(entries, chosen)
                try:
                    observed = worths = _column(values, chosen)
                    if measurement is not None:
                        worths = measurement.worths(_column(names, chosen), observed)
                    ledger.builder.add_first_values(
                        _column(offsets, chosen)[-1],
                        _column(keys, chosen),
                        worths,
                        _column(times, chosen),
                        None if worths is observed else observed,
                    )
                except Exception:  # noqa: BLE001 - nothing was added, and one by one it is seen why
                    left += _places(chosen)
                else:
                    ledger.window.add(piece.deadline, *new)
    return np.sort(order[left])


def _pieces(experiments: NDArray[np.uint64], by_bucket: NDArray[np.int64]) -> Iterator[_Piece]:
    """Yield the runs of rows with the same experiment and bucket."""
    changes = (np.diff(experiments) != 0) | (np.diff(by_bucket) != 0)
    starts = np.append(0, np.flatnonzero(changes) + 1)
    stops = np.append(starts[1:], len(experiments))
    columns = experiments[starts], by_bucket[starts], starts, stops
    return map(_Piece, *(column.tolist() for column in columns))


def _places(chosen: slice | list[int]) -> Iterable[int]:
    return range(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen


def _column(column: list[T], chosen: slice | list[int]) -> list[T]:
    return column[chosen] if isinstance(chosen, slice) else [column[row] for row in chosen]
