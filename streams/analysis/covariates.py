"""Variance that covariates explain, taken out of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from streams.analysis.contrasts import MetricContrasts, in_every_pair
from streams.experiments.covariates import dimension
from streams.model.quantities import MICRO
from streams.model.vectors import FEATURE_ONE
from streams.stats.arrays import FloatArray
from streams.stats.regression_adjustment import CovariateSums, coefficients, squared_deviations
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.linear import triangle


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Covariates of the units of every variant, as counted.

    Units without any are at 0 in all entries.

    Attributes:
        units: Units of each.
        totals: Sums of each entry over them, in 1 / FEATURE_ONE.
        products: Sums of the products of two entries, by row and column, squared so.
    """

    units: tuple[int, ...]
    totals: tuple[tuple[int, ...], ...]
    products: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def read(cls, variants: Sequence[VariantTally], n_covariates: int) -> Self | None:
        """Read the covariates of the units; None if none are declared.

        Args:
            variants: Their tallies.
            n_covariates: How many are declared.
        """
        if not n_covariates:
            return None
        entries = range(1, dimension(n_covariates))

        def entry(gram: tuple[int, ...], row: int, column: int) -> int:
            place = triangle(max(row, column)) + min(row, column)
            return gram[place] if place < len(gram) else 0

        return cls(
            tuple(variant.units for variant in variants),
            tuple(
                tuple(entry(variant.gram, 0, each) // FEATURE_ONE for each in entries)
                for variant in variants
            ),
            tuple(
                tuple(tuple(entry(variant.gram, row, each) for each in entries) for row in entries)
                for variant in variants
            ),
        )

    def sums(self, tallies: Sequence[MetricTally], units: Sequence[int]) -> CovariateSums:
        """Return the sums beside a metric.

        Args:
            tallies: The metric of every variant.
            units: Units of every variant, by impressions or observations.
        """
        columns = zip(self.totals, self.products, tallies, units, strict=True)
        found = [_centred(*each) for each in columns]
        n = np.array(units, dtype=np.float64)
        totals = np.array([each[0] for each in found])
        centre = totals.sum(axis=0) / max(float(n.sum()), 1.0)
        return CovariateSums(
            totals - n[:, None] * centre,
            np.array([each[1] for each in found]),
            np.array([each[2] for each in found]),
        )


def _centred(
    totals: Sequence[int], products: Sequence[Sequence[int]], tally: MetricTally, units: int
) -> tuple[list[float], list[list[float]], list[float]]:
    """Return the sums of c, and of c c^T and c x from their means, of one variant.

    The differences of large sums are taken in integers and divided once, so no digit is lost.
    """
    n = max(units, 1)
    square, crossed = n * FEATURE_ONE**2, n * FEATURE_ONE * MICRO
    moment = tally.moment + (0,) * (1 + len(totals) - len(tally.moment))
    return (
        [each / FEATURE_ONE for each in totals],
        [
            [(n * both - mine * other) / square for both, other in zip(row, totals, strict=True)]
            for row, mine in zip(products, totals, strict=True)
        ],
        [
            (n * both - mine * tally.total) / crossed
            for both, mine in zip(moment[1:], totals, strict=False)
        ],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Adjustment:
    """A metric less what the covariates explain of it; one entry per variant.

    Attributes:
        totals: Sums of the adjusted values. The covariates count from their common mean, so the
            mean of all variants together stays what it was.
        squared_deviations: Sums of their squared deviations from the mean of the variant.
        removed: Share of the variance within variants that is removed, in [0, 1].
    """

    totals: FloatArray
    squared_deviations: FloatArray
    removed: float

    @classmethod
    def of(
        cls, covariates: Covariates, tallies: Sequence[MetricTally], samples: Sequence[Sample]
    ) -> Self:
        """Return the adjustment of a metric.

        Args:
            covariates: Of the units of every variant.
            tallies: The metric of every variant.
            samples: The same beside the units.
        """
        sums = covariates.sums(tallies, [round(sample.units) for sample in samples])
        theta = coefficients(sums)
        before = np.array([sample.squared_deviations for sample in samples])
        after = squared_deviations(sums, theta, before)
        whole = float(before.sum())
        removed = 1.0 - float(after.sum()) / whole if whole else 0.0
        totals = np.array([sample.total for sample in samples]) - sums.totals @ theta
        return cls(totals, after, min(max(removed, 0.0), 1.0))

    def samples(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """Return the samples of the adjusted values."""
        columns = zip(samples, self.totals.tolist(), self.squared_deviations.tolist(), strict=True)
        return tuple(
            replace(sample, total=total, squared_deviations=deviations)
            for sample, total, deviations in columns
        )

    def contrasts(self, raw: MetricContrasts) -> MetricContrasts:
        """Return the contrasts of the adjusted values, which have no bound.

        Args:
            raw: Of the values as they are, under weights that never moved.
        """
        units = np.maximum(raw.sums.units, 1.0)
        totals, deviations = map(in_every_pair, (self.totals, self.squared_deviations))
        sums = replace(
            raw.sums,
            total=totals,
            cross=totals,
            total_squared=deviations + totals * totals / units,
            largest=np.full_like(units, np.inf),
            variance=deviations / units,
            heaviest=None,
            converted=None,
        )
        return replace(raw, bounds=None, sums=sums)
