"""Ratio metrics: the sum of one metric over the sum of another, by variant.

No unit has a value of a ratio. It is replaced by the *linearised* value (x - R y) / (mean of y),
the influence of the unit on the ratio R of its variant. Linearised values sum to 0, and their
variance is that of the ratio by the delta method, to first order in one over the units. Posteriors,
policies and confidence sequences treat the ratio as a mean of which these are the deviations.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from streams.analysis.comparable import policy_samples, reported_samples
from streams.analysis.contrasts import MetricContrasts
from streams.analysis.linearised import linearised, weighting_of
from streams.analysis.metric_input import MetricInput
from streams.analysis.traffic import Traffic
from streams.experiments.config import ExperimentConfig
from streams.model.errors import InvalidParameterError
from streams.policies.arms import arms_of
from streams.policies.base import Arm
from streams.stats.arrays import FloatArray
from streams.stats.comparable_samples import Comparisons
from streams.stats.families.registry import FAMILIES, FoundKind
from streams.stats.kinds import Contradiction, ContradictionCode, MetricKind
from streams.stats.posteriors.normal import NormalPosterior
from streams.stats.posteriors.ratio import RatioSample, ratio_posteriors
from streams.stats.sample import Sample
from streams.stats.sequential.contrasts import Contrast
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, ProductTally, VariantTally
from streams.tallies.plan import pair_of

_NONE, _NO_PRODUCT = MetricTally(), ProductTally()

_UNITS_TO_JUDGE = 30
"""Units with one of both metrics from which on a denominator of 0 is a contradiction."""


@dataclass(frozen=True, slots=True, eq=False)
class RatioContrasts(MetricContrasts):
    """Contrasts of a ratio.

    The fields of `MetricContrasts` are those of the linearised values, as if the mean of the
    denominator were `scale` in every variant.

    Attributes:
        ratios: Ratio of each variant by the sums that are compared: that of a in the comparison
            with b, at [a, b]; shape (n_variants, n_variants).
        scale: Mean of the denominator that the fields are scaled to, > 0.
    """

    ratios: FloatArray
    scale: float

    def contrast(self, a: Sequence[int], b: Sequence[int], times: float = 1.0) -> Contrast:
        """Return the contrasts of "ratio of a minus `times` the ratio of b".

        Args:
            a, b: Indices of variants, equally many or one of them one.
            times: Factor, >= 0.
        """
        found = MetricContrasts.contrast(self, a, b, times)
        return replace(
            found,
            difference=self.ratios[list(a), list(b)] - times * self.ratios[list(b), list(a)],
            standard_error=found.standard_error / self.scale,
        )

    def mean_beside(self, variant: int, other: int) -> float:
        """Return the ratio of a variant by the sums that compare it with another one."""
        return float(self.ratios[variant, other])

    @property
    def likeness(self) -> Hashable:
        """The metric itself: no other one is like it."""
        return self

    def comparisons(self) -> Comparisons:
        """Return the weighted ratios of all variants, beside each other."""
        return Comparisons.of(self.sums, self.ratios, self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class RatioInput(MetricInput):
    """A ratio of two metrics; every tuple has one entry per variant, in their order.

    Attributes:
        numerators, denominators: Their tallies, of the units that are compared.
        products: The sums of their products, likewise.
        ratio_samples: Sums over these units, for the posterior. A denominator that sums to less
            than 0 is taken for none.
        assigned_ratios: The same over all units, for the policy.
    """

    numerators: tuple[MetricTally, ...]
    denominators: tuple[MetricTally, ...]
    products: tuple[ProductTally, ...]
    ratio_samples: tuple[RatioSample, ...]
    assigned_ratios: tuple[RatioSample, ...]

    @classmethod
    def read(
        cls,
        config: ExperimentConfig,
        name: str,
        variants: Sequence[VariantTally],
        compared: Sequence[VariantTally] | None = None,
    ) -> RatioInput:
        """Read a ratio.

        What is published as counted are the units with a denominator and the sum of the numerator;
        where the denominators sum to 0 or less, no unit has a denominator of a ratio. The means of
        the samples are the ratios; their units with a value have one of both metrics.

        Args:
            config: The configuration.
            name: Name of a metric that is declared as a ratio.
            variants: Tallies, in the order of the definition.
            compared: Those of the units that are compared; None for all.

        Raises:
            InvalidParameterError: the metric is not a ratio.
        """
        spec = config.spec(name)
        if spec.components is None:
            raise InvalidParameterError("name", name, "a ratio")
        counted = _Counted.read(spec.components, variants)
        found = FoundKind(
            MetricKind.RATIO,
            is_declared=True,
            contradiction=_contradiction(counted.numerators, counted.denominators),
        )
        chosen = counted if compared is None else _Counted.read(spec.components, compared)
        tallies = tuple(
            MetricTally(y.units if y.total > 0 else 0, x.observations + y.observations, x.total)
            for x, y in zip(counted.numerators, counted.denominators, strict=True)
        )
        return cls(
            name,
            config.role(name),
            spec,
            found,
            tallies,
            counted.samples(),
            chosen.samples(),
            chosen.numerators,
            chosen.denominators,
            chosen.products,
            chosen.ratios,
            counted.ratios,
        )

    @property
    def is_defined(self) -> tuple[bool, ...]:
        """Whether each variant has a denominator, in the units that are compared."""
        return tuple(each.units > 0 and each.total > 0 for each in self.denominators)

    def reported(self, contrasts: MetricContrasts) -> tuple[Sample, ...]:
        """Return the samples of the comparisons."""
        found = partial(self._comparisons, contrasts.traffic, Weighting.INVERSE)
        return reported_samples(contrasts, found, self.samples, FAMILIES[MetricKind.RATIO])

    def for_policy(self, traffic: Traffic) -> tuple[Sample, ...]:
        """Return the samples of the comparisons, unless these are of some units alone."""
        if self.ratio_samples != self.assigned_ratios:
            return self.assigned
        weighting = weighting_of(traffic, self.numerators, self.denominators)
        found = partial(self._comparisons, traffic, weighting)
        family = FAMILIES[MetricKind.RATIO]
        return policy_samples(traffic, weighting, found, self.assigned, family)

    def _comparisons(self, traffic: Traffic, weighting: Weighting) -> Comparisons:
        return self.contrasts(replace(traffic, weighting=weighting)).comparisons()

    def posteriors(self, samples: Sequence[Sample]) -> NormalPosterior:
        """Return the posteriors of the ratios."""
        return ratio_posteriors(samples, [bool(each.denominator) for each in self.ratio_samples])

    def arms(self, samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Arm, ...]:
        """Return what a policy sees: units whose values are R + (x - R y) / (mean of y).

        A variant without a denominator has no ratio, and no units for the policy.
        """
        has_mean = [bool(ratio.denominator) for ratio in self.assigned_ratios]
        return arms_of(samples, weights, is_binary=False, has_mean=has_mean)

    def contrasts(self, traffic: Traffic) -> RatioContrasts:
        """Return the sums by which the ratios are compared.

        The ratios are of the sums by which the traffic wants means compared, and so is the mean of
        the denominator: where weights moved, of values that count by their propensities.

        Source: Deng, Knoblich and Lu (2018), "Applying the delta method in metric analytics",
            section 3; a ratio is asymptotically linear, and a confidence sequence for such a one is
            asymptotic as that of a mean is (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
            arXiv 2103.06476).
        """
        found = linearised(traffic, self.numerators, self.denominators, self.products, self.samples)
        return RatioContrasts(
            traffic,
            found.weighting,
            bounds=None,
            sums=found.sums,
            observations=np.array([float(each.observations) for each in self.denominators]),
            ratios=found.ratios,
            scale=found.scale,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """The components of a ratio over some units; one entry per variant."""

    numerators: tuple[MetricTally, ...]
    denominators: tuple[MetricTally, ...]
    products: tuple[ProductTally, ...]
    ratios: tuple[RatioSample, ...]

    @classmethod
    def read(cls, components: tuple[str, str], variants: Sequence[VariantTally]) -> _Counted:
        numerator, denominator = components
        xs = tuple(variant.metrics.get(numerator, _NONE) for variant in variants)
        ys = tuple(variant.metrics.get(denominator, _NONE) for variant in variants)
        pair = pair_of(numerator, denominator)
        products = tuple(variant.products.get(pair, _NO_PRODUCT) for variant in variants)
        if pair[0] != numerator:
            products = tuple(each.exchanged() for each in products)
        ratios = tuple(
            RatioSample.of(variant.units, x, y if y.total > 0 else _NONE, product.total)
            for variant, x, y, product in zip(variants, xs, ys, products, strict=True)
        )
        return cls(xs, ys, products, ratios)

    def samples(self) -> tuple[Sample, ...]:
        return tuple(
            ratio.linearised(min(x.units, y.units))
            for ratio, x, y in zip(self.ratios, self.numerators, self.denominators, strict=True)
        )


def _contradiction(
    numerators: Sequence[MetricTally], denominators: Sequence[MetricTally]
) -> Contradiction | None:
    """Return the contradiction of the first denominator that is not positive.

    A denominator counts something: its sum is never below 0, and above 0 once as many units have
    it, or a numerator, as `_UNITS_TO_JUDGE`.
    """
    for index, (x, y) in enumerate(zip(numerators, denominators, strict=True)):
        seen = max(x.units, y.units)
        if y.total < 0 or (y.total == 0 and seen >= _UNITS_TO_JUDGE):
            return Contradiction(ContradictionCode.DENOMINATOR_NOT_POSITIVE, index)
    return None
