"""Samples of several variants by period: the sums of `Sample`, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.stats.arrays import FloatArray
from streams.stats.sample import Sample, squared_deviations
from streams.tallies.periods import PeriodTally

_SUMS = ("units", "units_with_value", "total", "squared_deviations", "value_squared_deviations")


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """One row per period, one sample per variant; every shape is (n_periods, n_variants).

    Attributes:
        units, units_with_value, total, squared_deviations, value_squared_deviations: As those of
            `Sample`.
    """

    units: FloatArray
    units_with_value: FloatArray
    total: FloatArray
    squared_deviations: FloatArray
    value_squared_deviations: FloatArray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Sample]]) -> Self:
        """Return samples as arrays.

        Args:
            rows: Samples of all variants, by period; at least one row.

        Raises:
            InvalidParameterError: the rows differ in their number of variants.
        """
        sizes = {len(row) for row in rows}
        if len(sizes) != 1:
            raise InvalidParameterError("rows", sorted(sizes), "of equally many variants")
        return cls(
            *(
                np.array([[getattr(each, name) for each in row] for row in rows], dtype=np.float64)
                for name in _SUMS
            )
        )

    @classmethod
    def tallied(cls, rows: Sequence[Sequence[PeriodTally]], n_variants: int) -> Self:
        """Return the samples of tallies, as `Sample.of` does one of them.

        Args:
            rows: Tallies of all variants, by period.
            n_variants: Number of variants.
        """
        columns: list[list[float]] = [[], [], [], [], []]
        for row in rows:
            for each in row:
                with_value, total, squared = each.units_with_value, each.total, each.total_squared
                units = max(each.units, with_value)
                columns[0].append(units)
                columns[1].append(with_value)
                columns[2].append(total / MICRO)
                columns[3].append(squared_deviations(units, total, squared))
                columns[4].append(squared_deviations(with_value, total, squared))
        shape = len(rows), n_variants
        return cls(*(np.array(column, dtype=np.float64).reshape(shape) for column in columns))

    def weighted(self, weights: ArrayLike) -> Samples:
        """Return the samples in which every unit counts with a weight.

        Args:
            weights: Of every period, or of every period and variant; >= 0.
        """
        w = np.asarray(weights, dtype=np.float64)
        w = w[:, None] if w.ndim == 1 else w
        return Samples(*(getattr(self, name) * w for name in _SUMS))

    def pooled(self, starts: Sequence[int] = (0,)) -> Samples:
        """Return the samples of all units of several periods, a row for each group of periods.

        Squared deviations are the sum of those within the samples and those between their means,
        which are both >= 0, so nothing cancels.

        Args:
            starts: First period of each group, ascending from 0. A group ends where the next one
                begins.

        Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance",
            equation 2.1.
        """
        if not len(self.units):
            nothing = np.zeros((1, self.units.shape[1]))
            return Samples(*(nothing for _ in _SUMS))
        units = np.add.reduceat(self.units, starts)
        with_value = np.minimum(np.add.reduceat(self.units_with_value, starts), units)
        total = np.add.reduceat(self.total, starts)
        sizes = np.diff([*starts, len(self.units)])

        def around(mean: FloatArray, n: FloatArray, own: FloatArray) -> FloatArray:
            return n * (own - np.repeat(mean, sizes, axis=0)) ** 2

        between = around(mean_of(total, units), self.units, mean_of(self.total, self.units))
        between_values = around(
            mean_of(total, with_value),
            self.units_with_value,
            mean_of(self.total, self.units_with_value),
        )
        return Samples(
            units,
            with_value,
            total,
            np.add.reduceat(self.squared_deviations + between, starts),
            np.add.reduceat(self.value_squared_deviations + between_values, starts),
        )

    def only(self, chosen: NDArray[np.bool_]) -> Samples:
        """Return some of the periods; shape of `chosen` (n_periods,)."""
        return Samples(*(getattr(self, name)[chosen] for name in _SUMS))

    def row(self, index: int) -> tuple[Sample, ...]:
        """Return the samples of a period."""
        columns = (getattr(self, name)[index].tolist() for name in _SUMS)
        return tuple(Sample(*each) for each in zip(*columns, strict=True))


def mean_of(total: FloatArray, units: FloatArray) -> FloatArray:
    """Return total over units; 0 without units."""
    mean: NDArray[np.float64] = np.divide(total, units, out=np.zeros_like(total), where=units > 0.0)
    return mean
