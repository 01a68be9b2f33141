"""Variance reduction: removal of the variance that covariates explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.overlap_covariates import OverlapCovariates
from streams.analysis.pair_arrays import in_every_pair
from streams.experiments.covariates import dimension
from streams.model.quantities import MICRO
from streams.model.vectors import FEATURE_ONE
from streams.stats.arrays import FloatArray
from streams.stats.regression_adjustment import (
    CovariateSums,
    coefficients,
    squared_deviations,
    squared_deviations_by_pair,
)
from streams.stats.sample import Sample
from streams.stats.sequential.contrasts import WeightedSums
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.linear import triangle


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Sums over the covariates of the units of every variant.

    Units without any are at 0 in all entries.

    Attributes:
        units: Units of each.
        totals: Sums of each entry over them, in 1 / FEATURE_ONE.
        products: Sums of the products of two entries, by row and column, in 1 / FEATURE_ONE**2.
        weighting: How the units count.
        overlap: The sums weighted for the comparison with each other variant; None if not kept.
    """

    units: tuple[int, ...]
    totals: tuple[tuple[int, ...], ...]
    products: tuple[tuple[tuple[int, ...], ...], ...]
    weighting: Weighting
    overlap: OverlapCovariates | None

    @classmethod
    def read(
        cls, variants: Sequence[VariantTally], n_covariates: int, weighting: Weighting
    ) -> Self | None:
        """Read the covariates of the units; None if none are declared.

        Args:
            variants: Their tallies.
            n_covariates: Number of declared covariates.
            weighting: How the units count.
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
            weighting,
            OverlapCovariates.read(variants, len(entries)),
        )

    def sums(self, tallies: Sequence[MetricTally], units: Sequence[int]) -> CovariateSums:
        """Return the joint sums with a metric.

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

    Differences of large sums are computed in integers and divided once, so no digit is lost.
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
    """A metric without the part that covariates explain; one entry per variant.

    Attributes:
        covariates: The covariates.
        tallies: The metric.
        sums: Their joint sums with it.
        before: Sums of the squared deviations of the values from the mean of the variant.
        totals: Unweighted sums of the adjusted values. The covariates are centred at their common
            mean, so the mean over all variants is unchanged.
        squared_deviations: Sums of their squared deviations from the mean of the variant.
    """

    covariates: Covariates
    tallies: tuple[MetricTally, ...]
    sums: CovariateSums
    before: FloatArray
    totals: FloatArray
    squared_deviations: FloatArray

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
        totals = np.array([sample.total for sample in samples]) - sums.totals @ theta
        return cls(covariates, tuple(tallies), sums, before, totals, after)

    def samples(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """Return the samples of the adjusted values; unadjusted if weights may have moved."""
        if self.covariates.weighting is not Weighting.PLAIN:
            return tuple(samples)
        columns = zip(samples, self.totals.tolist(), self.squared_deviations.tolist(), strict=True)
        return tuple(
            replace(sample, total=total, squared_deviations=deviations)
            for sample, total, deviations in columns
        )

    def contrasts(self, raw: MetricContrasts) -> MetricContrasts:
        """Return the contrasts of the adjusted values, which have no bound.

        They are those of the unadjusted values if the weights of the units are unknown by pair, or
        if sums by pair of the covariates are not kept.

        Args:
            raw: Contrasts of the unadjusted values.
        """
        if raw.weighting is Weighting.OVERLAP:
            return self._by_pair(raw)
        if raw.weighting is not Weighting.PLAIN:
            return raw
        units = np.maximum(raw.sums.units, 1.0)
        totals, deviations = map(in_every_pair, (self.totals, self.squared_deviations))
        sums = replace(
            raw.sums,
            total=totals,
            cross=totals,
            total_squared=deviations + totals * totals / units,
            variance=deviations / units,
        )
        removed = _removed(float(self.before.sum()), float(self.squared_deviations.sum()))
        return _unbounded(raw, sums, removed)

    def _by_pair(self, raw: MetricContrasts) -> MetricContrasts:
        """Return the contrasts of the adjusted values under moving weights."""
        overlap = self.covariates.overlap
        if overlap is None:
            return raw
        found = overlap.adjusted(raw.sums, self.tallies)
        deviations = squared_deviations_by_pair(self.sums, found.coefficients, self.before)
        variance = deviations / np.maximum(raw.sums.units, 1.0)
        assert raw.sums.moments is not None  # noqa: S101 - of values that are not 0 or 1
        # Third moments of adjusted values are unknown. Those of the values are used, which are the
        # same if the removed part is not skewed, so tails are detected later than without
        # covariates.
        moments = replace(raw.sums.moments, variance=variance)
        sums = replace(found.sums, variance=variance, moments=moments)
        return _unbounded(raw, sums, _removed(found.squares_before, found.squares_after))


def _unbounded(raw: MetricContrasts, sums: WeightedSums, removed: float) -> MetricContrasts:
    """Return contrasts of adjusted values, which have no bound."""
    largest = np.full_like(sums.total, np.inf)
    sums = replace(sums, largest=largest, heaviest=None, converted=None)
    return replace(raw, bounds=None, sums=sums, variance_removed=removed)


def _removed(before: float, after: float) -> float:
    """Return the share of a sum of squares that is removed, in [0, 1]."""
    return min(max(1.0 - after / before, 0.0), 1.0) if before > 0.0 else 0.0
