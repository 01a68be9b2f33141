"""Rows of what the folds have counted; the listeners keep them, and the rows are made afterwards.

What is kept are references until `take`, so listening cannot fail: a fold that is interrupted by
its listener would count nothing and yet remember the events.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.fold.verification import VerifiedObservations
from streams.model.events import EXPOSURE, ImpressionGroup
from streams.model.quantities import PROPENSITY_ONE
from streams.model.voids import VOID_PREFIX
from streams.warehouse.columns import named, signed, texts, times, values, variants
from streams.warehouse.tables import ASSIGNMENTS, EXPOSURES, OBSERVATIONS, VOIDS, Table

DimensionsOf = Callable[[int, bytes], str | None]
"""Gives the values of a unit in the dimensions of an experiment as JSON, from a receipt's bytes."""


class Recorder(Protocol):
    """Keeps what was counted of one partition until it is taken as rows."""

    def take(self) -> dict[Table, pa.Table]:
        """Return the rows since the last call."""


@dataclass(slots=True)
class AssignmentRows:
    """Assignments that were counted.

    Attributes:
        partition: Partition of `impressions`.
        dimensions_of: Names values of dimensions.
    """

    partition: int
    dimensions_of: DimensionsOf
    _found: list[tuple[int, int, ImpressionGroup, Sequence[bool]]] = field(default_factory=list)

    def record(
        self, offset: int, index: int, group: ImpressionGroup, is_counted: Sequence[bool]
    ) -> None:
        """Keep impressions; the listener of an `ImpressionFold`."""
        self._found.append((offset, index, group, is_counted))

    def take(self) -> dict[Table, pa.Table]:
        """Return the rows since the last call."""
        found, self._found = self._found, []
        integers = [array("q") for _ in range(6)]
        offsets, places, indices, assigned, propensities, versions = integers
        units, experiments = array("Q"), array("Q")
        contexts: list[str] = []
        dimensions: list[str | None] = []
        for offset, index, group, is_counted in found:
            chosen = list(compress(range(len(group.units)), is_counted))
            n = len(chosen)
            offsets.extend(repeat(offset, n))
            places.extend(index + place for place in chosen)
            experiments.extend(repeat(group.experiment, n))
            for column, source in (
                (indices, group.variants),
                (assigned, group.assigned_at_ms),
                (propensities, group.propensities),
                (versions, group.allocation_versions),
                (units, group.units),
            ):
                column.extend(source[place] for place in chosen)
            known = group.contexts
            contexts += [known[place] for place in chosen] if known else repeat("", n)
            packed = group.dimensions
            dimensions += (
                (self.dimensions_of(group.experiment, packed[place]) for place in chosen)
                if packed
                else repeat(None, n)
            )
        ids = variants(np.frombuffer(experiments, np.uint64), _column(indices))
        columns = [
            *_place(self.partition, _column(offsets), _column(places)),
            *ids,
            signed(np.frombuffer(units, np.uint64)),
            times(_column(assigned)),
            pa.array(_column(propensities) / PROPENSITY_ONE),
            pa.array(_column(versions)),
            texts([(each or "").encode(errors="replace") for each in dimensions]),
            texts([each.encode(errors="replace") for each in contexts]),
        ]
        return {ASSIGNMENTS: pa.Table.from_arrays(columns, schema=ASSIGNMENTS.schema)}


@dataclass(slots=True)
class ObservationRows:
    """Observations, exposures and voids that were counted.

    Attributes:
        partition: Partition of `observations`.
    """

    partition: int
    _found: list[tuple[VerifiedObservations, NDArray[np.int64]]] = field(default_factory=list)

    def record(self, rows: VerifiedObservations, counted: NDArray[np.int64]) -> None:
        """Keep observations; the listener of an `ObservationFold`."""
        if len(counted):
            self._found.append((rows, counted))

    def take(self) -> dict[Table, pa.Table]:
        """Return the rows since the last call."""
        found, self._found = self._found, []
        made: dict[Table, list[pa.Table]] = {}
        for rows, counted in found:
            for table, each in self._tables(rows, counted):
                made.setdefault(table, []).append(each)
        return {table: pa.concat_tables(parts) for table, parts in made.items()}

    def _tables(
        self, rows: VerifiedObservations, counted: NDArray[np.int64]
    ) -> Iterable[tuple[Table, pa.Table]]:
        metrics = rows.read.metrics[counted]
        are_voids = rows.are_voids(counted) if rows.void_reasons else np.zeros(len(counted), bool)
        are_exposures = np.zeros(len(counted), bool)
        if EXPOSURE in rows.read.names:
            are_exposures = metrics == rows.read.names.index(EXPOSURE)
        for table, are_of, own in (
            (VOIDS, are_voids, self._voids),
            (EXPOSURES, are_exposures, self._exposures),
            (OBSERVATIONS, ~(are_voids | are_exposures), self._observations),
        ):
            chosen = counted[are_of]
            if len(chosen):
                columns = [*self._assigned(rows, chosen), *own(rows, chosen)]
                yield table, pa.Table.from_arrays(columns, schema=table.schema)

    def _assigned(self, rows: VerifiedObservations, chosen: NDArray[np.int64]) -> list[pa.Array]:
        """Return the columns that all three tables begin with."""
        receipts = rows.receipts
        return [
            *_place(self.partition, rows.offsets[chosen], rows.read.places[chosen]),
            *variants(receipts.experiment[chosen], receipts.variant[chosen]),
            signed(receipts.identity[chosen]),
            signed(receipts.unit[chosen]),
        ]

    @staticmethod
    def _voids(rows: VerifiedObservations, chosen: NDArray[np.int64]) -> list[pa.Array]:
        reasons = [name.removeprefix(VOID_PREFIX) for name in rows.read.names]
        return [
            named(reasons, rows.read.metrics[chosen]),
            times(rows.observed_at_ms[chosen]),
            times(rows.receipts.assigned_at_ms[chosen]),
        ]

    @staticmethod
    def _exposures(rows: VerifiedObservations, chosen: NDArray[np.int64]) -> list[pa.Array]:
        return [
            times(rows.observed_at_ms[chosen]),
            times(rows.receipts.assigned_at_ms[chosen]),
            pa.array(rows.receipts.propensity[chosen] / PROPENSITY_ONE),
        ]

    @staticmethod
    def _observations(rows: VerifiedObservations, chosen: NDArray[np.int64]) -> list[pa.Array]:
        receipts, read = rows.receipts, rows.read
        windows = receipts.attribution_window_s[chosen]
        event_ids = read.event_ids
        return [
            named(read.names, read.metrics[chosen]),
            values(read.values[chosen]),
            times(rows.observed_at_ms[chosen]),
            times(receipts.assigned_at_ms[chosen]),
            pa.array(receipts.propensity[chosen] / PROPENSITY_ONE),
            pa.array(windows, mask=windows == 0),
            texts([event_ids[row] for row in chosen.tolist()]),
        ]


def _place(
    partition: int, offsets: NDArray[np.int64], places: NDArray[np.int64]
) -> Sequence[pa.Array]:
    return (
        pa.array(np.full(len(offsets), partition, np.int32)),
        pa.array(offsets),
        pa.array(places.astype(np.int32)),
    )


def _column(column: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(column, np.int64)
