"""Input of the analysis of one metric of several variants: counts and kind of model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from streams.analysis.comparable import policy_samples, reported_samples
from streams.analysis.contrasts import MetricContrasts, weighted_sums
from streams.analysis.covariates import Adjustment, Covariates
from streams.analysis.primary_periods import PrimaryPeriods
from streams.analysis.traffic import Traffic
from streams.analysis.winsorized import EstimatedCap, values_of
from streams.experiments.config import ExperimentConfig
from streams.experiments.measurement_plan import bounds_of, floor_of
from streams.experiments.metrics import MetricSpec
from streams.experiments.statistics.metric_model import MetricRole
from streams.model.quantities import MICRO
from streams.policies.arms import arms_of
from streams.policies.base import Arm, BetaPolicy
from streams.stats.arrays import FloatArray
from streams.stats.bounds import BINARY, Bounds
from streams.stats.comparable_samples import Comparisons
from streams.stats.families.base import WEAK_PRIORS, Family, Priors, VariantMetric
from streams.stats.families.registry import FAMILIES, FoundKind, find_kind
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.base import PublishedPosteriors
from streams.stats.sample import Sample
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, VariantTally

_BINARY = FAMILIES[MetricKind.BINARY]
_NONE = MetricTally()


@dataclass(frozen=True, slots=True, eq=False)
class MetricInput(ABC):
    """Counts of a metric; every tuple has one entry per variant, in their order.

    Attributes:
        name: Name of the metric.
        role: Its role in the experiment.
        spec: Its declaration.
        found: Its kind.
        tallies: What is published as counted.
        assigned: Sums over all units.
        samples: Unweighted sums over the compared units: with a conversion window, those whose
            window is over.
    """

    name: str
    role: MetricRole
    spec: MetricSpec
    found: FoundKind
    tallies: tuple[MetricTally, ...]
    assigned: tuple[Sample, ...]
    samples: tuple[Sample, ...]

    @property
    def all_samples(self) -> tuple[Sample, ...]:
        """Sums over all units, weighted by period."""
        return self.assigned

    @property
    def winsorized_at(self) -> float | None:
        """Cap of its values, at a percentile; None without one."""
        return None

    @property
    def anytime(self) -> tuple[FloatArray, FloatArray] | None:
        """Ends of each variant that hold at every look and are reported; None for the posterior's.

        Shape (n_variants,) each, infinite without information.
        """
        return None

    @property
    def is_defined(self) -> tuple[bool, ...]:
        """Whether the mean of each variant exists."""
        return (True,) * len(self.samples)

    @abstractmethod
    def reported(self, contrasts: MetricContrasts) -> tuple[Sample, ...]:
        """Return the samples of the posteriors.

        Args:
            contrasts: The sums by which the variants are compared.
        """

    @abstractmethod
    def for_policy(self, traffic: Traffic) -> tuple[Sample, ...]:
        """Return the samples for a policy that compares means.

        Args:
            traffic: Split of all units.
        """

    @abstractmethod
    def posteriors(self, samples: Sequence[Sample]) -> PublishedPosteriors:
        """Return the posteriors of the means per unit, from `samples`."""

    @abstractmethod
    def contrasts(self, traffic: Traffic) -> MetricContrasts:
        """Return the sums for comparing the variants."""

    @abstractmethod
    def arms(self, samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Arm, ...]:
        """Return the arms that a policy sees.

        Args:
            samples: Their samples for the policy.
            weights: Declared shares, which sum to 1.
        """


@dataclass(frozen=True, slots=True, eq=False)
class SingleInput(MetricInput):
    """A metric whose values are observed directly, and not derived from other metrics.

    Attributes:
        compared: Its tallies of the units that are compared.
        periods: Its units by period of assignment; None without weights by time.
        priors: Priors of its mean.
        adjustment: Values adjusted for covariates; None without covariates.
        bounds: Bounds of the values of its units; None if unknown.
        cap: Cap at a percentile of its values, applied to all but `tallies`; None without one.
        values: Tallies of all units, with this cap.
    """

    compared: tuple[MetricTally, ...]
    periods: PrimaryPeriods | None
    priors: Priors
    adjustment: Adjustment | None
    bounds: Bounds | None
    cap: EstimatedCap | None
    values: tuple[MetricTally, ...]

    @classmethod
    def read(
        cls,
        config: ExperimentConfig,
        name: str,
        variants: Sequence[VariantTally],
        periods: PrimaryPeriods | None,
        covariates: Covariates | None = None,
        compared: Sequence[VariantTally] | None = None,
    ) -> SingleInput:
        """Read a metric by its declared kind, or by the inferred one if the tallies contradict it.

        Args:
            config: The configuration.
            name: Name of the metric.
            variants: The tallies.
            periods: The units of the metric by period; None without weights by time.
            covariates: Covariates of the units; None if none are declared.
            compared: Tallies of the units that are compared; None for all.
        """
        spec, role = config.spec(name), config.role(name)
        tallies = tuple(variant.metrics.get(name, _NONE) for variant in variants)
        parts = [()] * len(variants) if periods is None else periods.parts
        found = find_kind(
            spec.model_kind,
            [
                VariantMetric(variant.units, metric, of_periods)
                for variant, metric, of_periods in zip(variants, tallies, parts, strict=True)
            ],
        )
        # Priors are declared for a kind and apply to that kind only.
        priors = spec.priors if found.is_declared else WEAK_PRIORS
        policy = config.parameters
        if (
            found.kind is MetricKind.BINARY
            and role is MetricRole.PRIMARY
            and isinstance(policy, BetaPolicy)
        ):
            priors = Priors(alpha=policy.prior_alpha, beta=policy.prior_beta)
        chosen, cap = variants if compared is None else compared, None
        bounds = bounds_of(config, name)
        if FAMILIES[found.kind].is_exact:
            bounds = BINARY
        elif spec.winsorize is not None:
            cap = EstimatedCap.of(chosen, name, spec.winsorize)
            bounds = None if cap is None else _bounds(floor_of(config, name), cap)
        values = of_compared = tallies if cap is None else cap.capped(variants, name)
        assigned = samples = tuple(map(Sample.of, [each.units for each in variants], values))
        if compared is not None:
            of_compared = values_of(compared, name, cap)
            samples = tuple(map(Sample.of, [each.units for each in compared], of_compared))
        adjustment = None
        # For values of 0 and 1 the comparison is exact, which a regression is not. And the products
        # of covariates and values are not those of capped values.
        is_plain = not FAMILIES[found.kind].is_exact and cap is None
        if covariates is not None and is_plain:
            adjustment = Adjustment.of(covariates, of_compared, samples)
        if adjustment is not None and found.kind is MetricKind.CONTINUOUS:
            samples = adjustment.samples(samples)
        return cls(
            name,
            role,
            spec,
            found,
            tallies,
            assigned,
            samples,
            of_compared,
            periods,
            priors,
            adjustment,
            bounds,
            cap,
            values,
        )

    @property
    def winsorized_at(self) -> float | None:
        """Cap of its values, at a percentile; None without one."""
        return None if self.cap is None else self.cap.value

    @property
    def all_samples(self) -> tuple[Sample, ...]:
        """Sums over all units, weighted by period."""
        return self.assigned if self.periods is None else self.periods.samples

    def reported(self, contrasts: MetricContrasts) -> tuple[Sample, ...]:
        """Return the samples by period if there are any, else those of the comparisons."""
        if self.periods is not None:
            return self.periods.samples
        traffic, weighting = contrasts.traffic, Weighting.INVERSE
        if self.adjustment is not None and self.found.kind is not MetricKind.CONTINUOUS:
            contrasts = self._as_counted(traffic)
        found = partial(self._comparisons, traffic, self.compared, self.samples, weighting)
        return reported_samples(contrasts, found, self.samples, self._family)

    def for_policy(self, traffic: Traffic) -> tuple[Sample, ...]:
        """Return the samples by period if there are any, else those of the comparisons."""
        if self.periods is not None:
            return self.periods.samples
        weighting = traffic.weighting_of(self.values)
        found = partial(self._comparisons, traffic, self.values, self.assigned, weighting)
        # A policy treats values as binary while all are 0 or 1, whatever kind is declared.
        family = _BINARY if all(map(_BINARY.allows, self.tallies)) else self._family
        return policy_samples(traffic, weighting, found, self.assigned, family)

    def _comparisons(
        self,
        traffic: Traffic,
        tallies: Sequence[MetricTally],
        samples: Sequence[Sample],
        weighting: Weighting,
    ) -> Comparisons:
        sums = weighted_sums(traffic, tallies, samples, weighting)
        if self._family.is_exact:  # for values of 0 and 1 the mean determines the variance
            sums = replace(sums, variance=np.zeros_like(sums.variance))
        return Comparisons.of(sums)

    @property
    def _family(self) -> Family:
        return FAMILIES[self.found.kind]

    def posteriors(self, samples: Sequence[Sample]) -> PublishedPosteriors:
        """Return the posteriors of the family of the kind."""
        return self._family.posteriors(samples, self.priors)

    def contrasts(self, traffic: Traffic) -> MetricContrasts:
        """Return the unweighted sums for comparing the variants."""
        raw = self._as_counted(traffic)
        if self.adjustment is None:
            return raw
        if raw.sums.moments is None and raw.weighting is not Weighting.INVERSE:
            # Values in [0, 1] are compared by their bounds, which adjusted values lack.
            raw = MetricContrasts.of(traffic, self.compared, self.samples, bounds=None)
        return self.adjustment.contrasts(raw)

    def _as_counted(self, traffic: Traffic) -> MetricContrasts:
        return MetricContrasts.of(traffic, self.compared, self.samples, bounds=self.bounds)

    def arms(self, samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Arm, ...]:
        """Return the arms that a policy sees."""
        parts = () if self.periods is None else (p for parts in self.periods.parts for p in parts)
        is_binary = all(map(_BINARY.allows, self.tallies)) and all(map(_BINARY.allows, parts))
        return arms_of(samples, weights, is_binary=is_binary)


def _bounds(floor: int | None, cap: EstimatedCap) -> Bounds | None:
    """Return the bounds of the values up to a cap."""
    return None if floor is None else (min(floor, 0) / MICRO, cap.value)
