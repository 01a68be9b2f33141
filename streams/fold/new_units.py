"""Counting of first observations together.

The first observation of a metric by a unit adds an entry to a window and a value to a cell, and
commutes with all others; those of one bucket of the window are one update of a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.fold.buckets import deadlines
from streams.fold.deduplication import MOST_ENTRIES, entries_of
from streams.fold.metric_slots import have_slots
from streams.fold.partition import Ledger
from streams.fold.verification import VerifiedObservations
from streams.tallies.freezing import MetricKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one experiment and one bucket: [start, stop) of the sorted ones."""

    experiment: int
    deadline: int
    start: int
    stop: int


def count_new_units(
    rows: VerifiedObservations, chosen: NDArray[np.int64], ledgers: Mapping[int, Ledger]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the units that are certainly new.

    Args:
        rows, chosen, ledgers: As in `counting.count_observations`.

    Returns:
        The rows that were not counted: all rows of an experiment if one of them changes more than
            the sums of its metric. And those among them that open a bucket or add a metric, for
            experiments whose other rows are certainly new once these are counted.
    """
    receipts = rows.receipts
    by_bucket = deadlines(receipts.assigned_at_ms[chosen], receipts.attribution_window_s[chosen])
    experiments = receipts.experiment[chosen]
    order = np.lexsort((by_bucket, experiments))
    pieces = _pieces(experiments[order], by_bucket[order])
    columns = _Columns.of(rows, chosen[order])
    left: list[int] = []
    openers: list[int] = []
    for experiment, group in groupby(pieces, key=lambda piece: piece.experiment):
        ledger, found = ledgers[experiment], list(group)
        first, last = found[0].start, found[-1].stop
        metrics = set(columns.names[first:last])
        has_any_order = columns.has_any_order(ledger, found, metrics)
        if (
            has_any_order
            and ledger.metric_hashes.keys() >= metrics
            and ledger.window.has_room(
                {piece.deadline for piece in found}, MOST_ENTRIES * (last - first)
            )
        ):
            for piece in found:
                left += columns.count(ledger, piece)
            continue
        left += range(first, last)
        if has_any_order:
            openers += _openers(rows, columns.order, ledger, found, columns.names)
    return np.sort(columns.order[left]), np.sort(columns.order[openers])


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Observations in the order of the pieces, as lists with one entry each.

    Attributes:
        rows: All observations.
        order: Which of them these are.
        units: Keys of the window.
        values: In micro-units.
        entries: Entries of the window.
        names: Metrics.
        keys: Chance and metric.
        offsets: Offsets of the records.
        times: Times of the observations.
        with_features: Those whose receipts have features.
    """

    rows: VerifiedObservations
    order: NDArray[np.int64]
    units: list[int]
    values: list[int]
    entries: list[int]
    names: list[str]
    keys: list[MetricKey]
    offsets: list[int]
    times: list[int]
    with_features: set[int]

    @classmethod
    def of(cls, rows: VerifiedObservations, order: NDArray[np.int64]) -> _Columns:
        """Return these rows in this order."""
        receipts, values = rows.receipts, rows.read.values[order].tolist()
        names = [rows.read.names[metric] for metric in rows.read.metrics[order].tolist()]
        keys = zip(
            receipts.variant[order].tolist(),
            receipts.propensity[order].tolist(),
            receipts.weights[order].tolist(),
            names,
            strict=True,
        )
        return cls(
            rows,
            order,
            rows.keys[order].tolist(),
            values,
            entries_of(values, rows.events[order].tolist()),
            names,
            list(keys),
            rows.offsets[order].tolist(),
            rows.observed_at_ms[order].tolist(),
            _with_features(rows, order),
        )

    def has_any_order(self, ledger: Ledger, pieces: Sequence[_Piece], metrics: set[str]) -> bool:
        """Return whether new units of an experiment may be counted in any order."""
        measurement = ledger.measurement
        if measurement is not None and not measurement.are_single(metrics):
            return False
        return min(self.offsets[piece.start] for piece in pieces) > ledger.builder.folded

    def count(self, ledger: Ledger, piece: _Piece) -> Sequence[int]:
        """Count the units of a piece that are certainly new; return the places of the others."""
        # On a failure nothing of the piece has been added, and its rows are counted singly.
        places: slice | list[int] = slice(piece.start, piece.stop)
        known = self._known(ledger, piece)
        if known:
            places = [row for row in range(piece.start, piece.stop) if row not in known]
        if len(known) < piece.stop - piece.start:
            try:
                self._add(ledger, places)
            except Exception:  # noqa: BLE001 - nothing was added; rows are retried singly
                return range(piece.start, piece.stop)
            units, entries = _column(self.units, places), _column(self.entries, places)
            ledger.window.add(piece.deadline, units, entries)
        return list(known)

    def _known(self, ledger: Ledger, piece: _Piece) -> set[int]:
        """Return the places of a piece that need a closer look than a new unit does."""
        places = slice(piece.start, piece.stop)
        known = {
            piece.start + row for row in ledger.window.known(piece.deadline, self.units[places])
        }
        if self.with_features:
            known |= self.with_features.intersection(range(piece.start, piece.stop))
        if ledger.measurement is not None:
            refused = ledger.measurement.refused(self.names[places], self.values[places])
            known.update(piece.start + row for row in refused)
        return known

    def _add(self, ledger: Ledger, places: slice | list[int]) -> None:
        """Add first values to the cell of an experiment."""
        observed, moments = _column(self.values, places), _column(self.times, places)
        of_keys = _column(self.offsets, places)[-1], _column(self.keys, places)
        measurement = ledger.measurement
        if measurement is None:
            ledger.builder.add_first_values(*of_keys, observed, moments)
            return
        bounded = measurement.bounded(_column(self.names, places), observed)
        measurement.add_first_values(
            ledger.builder,
            *of_keys,
            bounded,
            moments,
            observed,
            self.rows.receipts.assigned_at_ms[self.order[places]].tolist(),
            _dimensions(self.rows, self.order, places) if measurement.has_slices else (),
        )


def _openers(
    rows: VerifiedObservations,
    order: NDArray[np.int64],
    ledger: Ledger,
    pieces: Sequence[_Piece],
    names: Sequence[str],
) -> set[int]:
    """Return the places in `order` of the first rows of closed buckets and of new metrics.

    No rows are returned where the order of the log matters: where opening a bucket could empty
    another one, or a metric could be refused.

    Args:
        rows: Verified observations.
        order: Those that are counted.
        ledger: Of their experiment.
        pieces: All of its rows, by bucket.
        names: Metrics, by place.
    """
    first, last = pieces[0].start, pieces[-1].stop
    latest_ms = int(rows.receipts.assigned_at_ms[order[first:last]].max())
    # Backwards in the log, so that the first row of each metric remains.
    backwards = (first + np.argsort(-order[first:last])).tolist()
    firsts = {names[place]: place for place in backwards}
    new = firsts.keys() - ledger.metric_hashes.keys()
    closed = ledger.window.closed({piece.deadline for piece in pieces})
    if not (
        ledger.window.can_open(closed, MOST_ENTRIES * (last - first), latest_ms)
        and have_slots(ledger, new)
    ):
        return set()
    openers = {firsts[name] for name in new}
    openers.update(piece.start for piece in pieces if piece.deadline in closed)
    return openers


def _dimensions(
    rows: VerifiedObservations, order: NDArray[np.int64], places: slice | list[int]
) -> list[bytes]:
    """Return the values of units in the dimensions, empty where a receipt has none."""
    known = rows.receipts.dimensions
    return [known.get(row, b"") for row in order[places].tolist()]


def _pieces(experiments: NDArray[np.uint64], by_bucket: NDArray[np.int64]) -> Iterator[_Piece]:
    """Yield the runs of rows with the same experiment and bucket."""
    changes = (np.diff(experiments) != 0) | (np.diff(by_bucket) != 0)
    starts = np.append(0, np.flatnonzero(changes) + 1)
    stops = np.append(starts[1:], len(experiments))
    columns = experiments[starts], by_bucket[starts], starts, stops
    return map(_Piece, *(column.tolist() for column in columns))


def _with_features(rows: VerifiedObservations, order: NDArray[np.int64]) -> set[int]:
    """Return the places in `order` of rows whose receipts have features."""
    others = rows.receipts.features
    if not others:
        return set()
    return set(np.flatnonzero(np.isin(order, np.fromiter(others, np.int64, len(others)))).tolist())


def _column(column: list[T], chosen: slice | list[int]) -> list[T]:
    return column[chosen] if isinstance(chosen, slice) else [column[row] for row in chosen]
