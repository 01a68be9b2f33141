"""Snapshot of an experiment: the value that is published to Kafka and Redis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from streams.experiments.lifecycle import Experiment
from streams.experiments.statistics.record import Statistics
from streams.experiments.statistics.variant_report import VariantReport
from streams.model.published import Int32, Published, VariantIndex


@dataclass(frozen=True, slots=True)
class Allocation(Published):
    """Integer weights that sum to 65,536, one per variant, with the version that computed them."""

    version: int
    weights: tuple[Int32, ...]


@dataclass(frozen=True, slots=True)
class CellPlace(Published):
    """Position of a cell: the last folded offset of its source partition."""

    source: str
    partition: Int32
    last_offset: int


def _rows(rows: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, rows))


def _as_they_are(rows: Any) -> Any:
    return rows


_Rows = Annotated[
    tuple[tuple[float, ...], ...], PlainValidator(_rows), PlainSerializer(_as_they_are)
]
"""Up to 33,000 numbers, neither validated nor copied individually."""


@dataclass(frozen=True, slots=True)
class PublishedModel(Published):
    """Parameters of a contextual policy: a `LinearModel`, as plain numbers.

    Attributes:
        noise: Standard deviation of the unit values within the variants.
        units: Units of all variants in the fit.
        coefficients: Coefficients of each active variant, in the order of the definition.
        triangles: Covariance of each, packed as `LinearModel.triangles` does.
    """

    noise: float
    units: int
    coefficients: _Rows
    triangles: _Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Statistics):
    """Published state of an experiment.

    Attributes:
        experiment: Definition and lifecycle.
        allocation: Weights in force; under a contextual policy, those of a request without
            features.
        variants: Reports, in the order of the definition.
        winner: Index of the declared winner; None without a winner. Once concluded, the one that
            was chosen.
        cells: Cells it was computed from, in order of source and partition.
        model: Parameters of a contextual policy; None under every other one.
    """

    experiment: Experiment
    allocation: Allocation
    variants: tuple[VariantReport, ...]
    winner: VariantIndex | None
    cells: tuple[CellPlace, ...]
    model: PublishedModel | None = None

    @property
    def order(self) -> tuple[int, int, bool]:
        """Order of the snapshots of an experiment: by commands, then by cells, failures first.

        Commands come first. A worker that takes over an experiment may have fewer cells at first
        than the one before it had evaluated, and what a command changes is visible at once.
        """
        return self.experiment.version, self.version, self.failure is None

    @property
    def variant_ids(self) -> list[str]:
        """Ids of the variants, in the order of the definition."""
        return [self.experiment.variant_id(index) for index in range(len(self.variants))]
