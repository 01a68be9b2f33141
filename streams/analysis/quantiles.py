"""Quantile metrics: the value that a share of the units of a variant do not exceed.

They are of the units that have a value, which are counted by bin (`streams.tallies.bins`). The
estimate is interpolated in the bin of the quantile, and its standard error is half the distance
between the estimates one standard error of a share above and below (Woodruff 1952, "Confidence
intervals for medians and other position measures"): no density has to be known. Posteriors,
policies and lifts take the quantile for a mean with this error; intervals, comparisons and p-values
hold at every look (`streams.stats.sequential.quantiles`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.metric_input import MetricInput
from streams.analysis.pair_arrays import by_pair
from streams.analysis.traffic import Traffic
from streams.experiments.config import ExperimentConfig
from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.variant_weights import OWN_WEIGHT
from streams.policies.arms import arms_of
from streams.policies.base import Arm
from streams.stats.arrays import FloatArray
from streams.stats.families.registry import FoundKind
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.normal import NormalPosterior
from streams.stats.posteriors.ratio import ratio_posteriors
from streams.stats.sample import Sample
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.quantiles import QuantilePair, QuantileSide
from streams.stats.weighting import Weighting
from streams.tallies.bins import QUANTILE_PRECISION, BinTally, ByBin, end_of
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.pair_sums import unpack_pairs

_NONE, _EMPTY = MetricTally(), BinTally()
_INTERVAL_ERROR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class BinnedUnits:
    """Units of variants by the size of their value.

    Attributes:
        ends: Ends of all bins that any variant has, and of the gaps between them, in units of the
            metric; shape (n_ends,).
        tallies: Units between an end and the one before, of every variant; empty in a gap.
    """

    ends: FloatArray
    tallies: tuple[tuple[BinTally, ...], ...]

    @classmethod
    def of(cls, variants: Sequence[ByBin]) -> BinnedUnits:
        """Return the units of variants, given their bins."""
        numbers = sorted({number for bins in variants for number in bins})
        ends: list[int] = []
        places: list[int | None] = []
        for number in numbers:
            begin = end_of(number - 1, QUANTILE_PRECISION) if number else 0
            if begin > (ends[-1] if ends else 0):
                ends.append(begin)
                places.append(None)
            ends.append(end_of(number, QUANTILE_PRECISION))
            places.append(number)
        if not ends:
            ends, places = [1], [None]
        return cls(
            np.array(ends, dtype=np.float64) / MICRO,
            tuple(
                tuple(_EMPTY if place is None else bins.get(place, _EMPTY) for place in places)
                for bins in variants
            ),
        )

    def sums(self, name: str, one: int) -> FloatArray:
        """Return cumulative sums of a field, in which `one` is 1; shape (n_variants, n_ends)."""
        found = [[getattr(each, name) / one for each in column] for column in self.tallies]
        return np.cumsum(np.array(found), axis=1)

    def pair_sums(self, name: str, one: int) -> FloatArray:
        """Return the same of a field by pair; shape (n_variants, n_variants, n_ends)."""
        n_ends = len(self.ends)
        found = [
            by_pair([getattr(column[end], name) for column in self.tallies], one)
            for end in range(n_ends)
        ]
        return np.cumsum(np.array(found), axis=0).transpose(1, 2, 0)

    def weighting_of(self, weighting: Weighting) -> Weighting:
        """Return how units count, given how those of a metric do: by bin not all sums may fit."""
        if weighting is Weighting.OVERLAP:
            for own, column in enumerate(self.tallies):
                pairs = sum(each.overlap for each in column)
                digits = unpack_pairs(pairs)
                known = digits[own] if own < len(digits) else 0
                if known != OWN_WEIGHT * sum(each.units for each in column):
                    return Weighting.INVERSE
        return weighting

    def sides(self, weighting: Weighting, heaviest: FloatArray) -> QuantileSide:
        """Return the units as they count in the comparisons of all pairs, flattened.

        Args:
            weighting: Weight of a unit.
            heaviest: Largest 1 / propensity of the units of each variant; shape (n_variants,).

        Returns:
            Those of a beside b at a * n_variants + b.
        """
        n_variants = len(self.tallies)
        largest = np.ones(n_variants)
        if weighting is Weighting.OVERLAP:
            sums = self.pair_sums("overlap", PROPENSITY_ONE)
            squares = self.pair_sums("overlap_squared", PROPENSITY_ONE**2)
        else:
            names = (("units", 1), ("units", 1))
            if weighting is Weighting.INVERSE:
                names, largest = (("weight", MICRO), ("weight_squared", MICRO**2)), heaviest
            shape = (n_variants, n_variants, len(self.ends))
            sums, squares = (np.broadcast_to(self.sums(*each)[:, None], shape) for each in names)
        count = n_variants * n_variants
        below, below_squared = sums.reshape(count, -1), squares.reshape(count, -1)
        return QuantileSide(
            np.broadcast_to(self.ends, below.shape),
            below,
            below_squared,
            below[:, -1],
            below_squared[:, -1],
            np.repeat(largest, n_variants),
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate of a quantile.

    Attributes:
        value: The quantile, in units of the metric; 0 without a unit.
        error: Its standard error.
    """

    value: float
    error: float

    @classmethod
    def of(
        cls, ends: FloatArray, below: FloatArray, below_squared: FloatArray, p: float
    ) -> Estimate:
        """Return the estimate of one variant.

        Args:
            ends: Ends of the bins; shape (n_ends,).
            below, below_squared: Cumulative sums of the weights, and of their squares.
            p: Probability of the quantile.
        """
        weight, squared = float(below[-1]), float(below_squared[-1])
        if weight <= 0.0:
            return cls(0.0, 0.0)
        share = math.sqrt(p * (1.0 - p) * squared) / weight
        shares = np.clip([p, p - share, p + share], 0.0, 1.0)
        xs, ys = np.append(0.0, below / weight), np.append(0.0, ends)
        value, low, high = np.interp(shares, xs, ys).tolist()
        return cls(value, (high - low) / 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class QuantileContrasts(MetricContrasts):
    """Contrasts of quantiles; the fields of `MetricContrasts` are those of the means.

    Attributes:
        p: Probability of the quantile.
        sides: Units as they count in the comparison of a with b, at a * n_variants + b.
        estimates: Estimates by the same sums.
    """

    p: float
    sides: QuantileSide
    estimates: tuple[Estimate, ...]

    def contrast(self, a: Sequence[int], b: Sequence[int], times: float = 1.0) -> Contrast:
        """Return the contrasts of "quantile of a minus `times` the quantile of b".

        Args:
            a, b: Indices of variants, equally many or one of them one.
            times: Factor, >= 0.
        """
        found = MetricContrasts.contrast(self, a, b, times)
        firsts, seconds = np.broadcast_arrays(np.array([*a]), np.array([*b]))
        n_variants = len(self.observations)
        places = firsts * n_variants + seconds, seconds * n_variants + firsts
        better, worse = (self._chosen_sides(each) for each in places)
        columns = [
            (self.estimates[left], self.estimates[right])
            for left, right in zip(*places, strict=True)
        ]
        errors = np.array([math.hypot(x.error, times * y.error) for x, y in columns])
        certain = np.full(len(columns), self.is_comparable)
        return replace(
            found,
            difference=np.array([x.value - times * y.value for x, y in columns]),
            standard_error=np.where(errors > 0.0, errors, np.inf),
            has_lower=certain,
            has_upper=certain,
            quantiles=QuantilePair(
                self.p, better, replace(worse, ends=np.maximum(times, 1e-9) * worse.ends)
            ),
        )

    def mean_beside(self, variant: int, other: int) -> float:
        """Return the quantile of a variant by the sums that compare it with another one."""
        return self.estimates[variant * len(self.observations) + other].value

    @property
    def likeness(self) -> Hashable:
        """The metric itself: no other one is like it."""
        return self

    @property
    def skewness(self) -> FloatArray | None:
        """None: no comparison depends on it."""
        return None

    def _chosen_sides(self, places: FloatArray) -> QuantileSide:
        return QuantileSide(
            *(getattr(self.sides, each.name)[places] for each in fields(QuantileSide))
        )


@dataclass(frozen=True, slots=True, eq=False)
class QuantileInput(MetricInput):
    """A quantile of the values of units; every tuple has one entry per variant, in their order.

    Attributes:
        p: Its probability.
        binned: Units that are compared, by the size of their value.
        estimates: Estimates by these units, each by 1 / propensity where weights moved.
        alone: The same units of each variant, beside no other one.
        compared: Tallies of the metric, of these units.
    """

    p: float
    binned: BinnedUnits
    estimates: tuple[Estimate, ...]
    alone: QuantileSide
    compared: tuple[MetricTally, ...]

    @classmethod
    def read(
        cls,
        config: ExperimentConfig,
        name: str,
        variants: Sequence[VariantTally],
        traffic: Traffic,
        compared: Sequence[VariantTally] | None = None,
    ) -> QuantileInput:
        """Read a quantile.

        Args:
            config: The configuration.
            name: Name of a metric that is declared as a quantile.
            variants: Tallies, in the order of the definition.
            traffic: How the units that are compared were split.
            compared: Tallies of these units; None for all.

        Raises:
            InvalidParameterError: the metric is not a quantile.
        """
        spec = config.spec(name)
        if spec.percentile is None:
            raise InvalidParameterError("name", name, "a quantile")
        p, chosen = spec.percentile, variants if compared is None else compared
        weighting = Weighting.PLAIN
        if traffic.weighting is not Weighting.PLAIN:
            weighting = Weighting.INVERSE
        every, binned = (
            BinnedUnits.of([each.bins.get(name, {}) for each in group])
            for group in (variants, chosen)
        )
        sides = binned.sides(weighting, traffic.largest)
        own = np.arange(len(variants)) * (len(variants) + 1)
        alone = QuantileSide(*(getattr(sides, each.name)[own] for each in fields(QuantileSide)))
        tallies = tuple(each.metrics.get(name, _NONE) for each in variants)
        of_all = _estimates(every, every.sides(weighting, traffic.largest), p)
        estimates = _estimates(binned, sides, p)
        chosen_tallies = tuple(each.metrics.get(name, _NONE) for each in chosen)
        return cls(
            name,
            config.role(name),
            spec,
            FoundKind(MetricKind.QUANTILE, is_declared=True, contradiction=None),
            tallies,
            _samples(variants, tallies, of_all),
            _samples(chosen, chosen_tallies, estimates),
            p,
            binned,
            estimates,
            alone,
            chosen_tallies,
        )

    @property
    def is_defined(self) -> tuple[bool, ...]:
        """Whether each variant has a value, in the units that are compared."""
        return tuple(each.units > 0 for each in self.compared)

    @property
    def anytime(self) -> tuple[FloatArray, FloatArray] | None:
        """Ends of the quantile of each variant that hold at every look."""
        return self.alone.interval(self.p, np.full(len(self.tallies), _INTERVAL_ERROR))

    def reported(self, contrasts: MetricContrasts) -> tuple[Sample, ...]:  # noqa: ARG002
        """Return the samples: their estimates count by 1 / propensity where weights moved."""
        return self.samples

    def for_policy(self, traffic: Traffic) -> tuple[Sample, ...]:  # noqa: ARG002
        """Return the samples of all units, likewise."""
        return self.assigned

    def posteriors(self, samples: Sequence[Sample]) -> NormalPosterior:
        """Return the posteriors of the quantiles: Student t, by their standard errors."""
        return ratio_posteriors(samples, [sample.units_with_value > 0.0 for sample in samples])

    def arms(self, samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Arm, ...]:
        """Return what a policy sees: units whose values have the quantile for their mean."""
        has_mean = [sample.units_with_value > 0.0 for sample in samples]
        return arms_of(samples, weights, is_binary=False, has_mean=has_mean)

    def contrasts(self, traffic: Traffic) -> QuantileContrasts:
        """Return what the quantiles are compared by.

        Args:
            traffic: How the units that are compared were split.
        """
        found = MetricContrasts.of(traffic, self.compared, self.samples, bounds=None)
        weighting = self.binned.weighting_of(found.weighting)
        sides = self.binned.sides(weighting, traffic.largest)
        return QuantileContrasts(
            found.traffic,
            weighting,
            found.bounds,
            found.sums,
            found.observations,
            p=self.p,
            sides=sides,
            estimates=_pair_estimates(self.binned.ends, sides, self.p),
        )


def _estimates(binned: BinnedUnits, sides: QuantileSide, p: float) -> tuple[Estimate, ...]:
    """Return the estimates of single variants."""
    n_variants = len(binned.tallies)
    return _pair_estimates(binned.ends, sides, p)[:: n_variants + 1]


def _pair_estimates(ends: FloatArray, sides: QuantileSide, p: float) -> tuple[Estimate, ...]:
    return tuple(
        Estimate.of(ends, below, squared, p)
        for below, squared in zip(sides.below, sides.below_squared, strict=True)
    )


def _samples(
    variants: Sequence[VariantTally],
    tallies: Sequence[MetricTally],
    estimates: Sequence[Estimate],
) -> tuple[Sample, ...]:
    """Return samples of which the means are the quantiles."""
    found = []
    for variant, tally, estimate in zip(variants, tallies, estimates, strict=True):
        units = max(variant.units, tally.units)
        spread = (units * estimate.error) ** 2
        found.append(Sample(units, tally.units, units * estimate.value, spread, 0.0))
    return tuple(found)
