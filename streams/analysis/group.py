"""Variants that are compared with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.analysis.binary_once import read_once
from streams.analysis.contrasts import Traffic
from streams.analysis.covariates import Covariates
from streams.analysis.metric_input import MetricInput, SingleInput
from streams.analysis.primary_periods import PrimaryPeriods
from streams.analysis.ratios import RatioInput
from streams.experiments.config import ExperimentConfig
from streams.policies.base import Policy
from streams.tallies.cell import MetricTally, Tally, VariantTally

_NONE = MetricTally()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Which variants are compared, by which metrics, and how their units were split.

    Attributes:
        indices: Their indices in the tally.
        control: Place of the control among them.
        policy: The policy that splits the units, with the floor that bounds propensities.
        shares: Declared shares, which sum to 1.
        names: Metrics to read.
        is_trial: Whether observed metrics are read as well, and the primary one by period.
    """

    indices: tuple[int, ...]
    control: int
    policy: Policy
    shares: tuple[float, ...]
    names: frozenset[str]
    is_trial: bool


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Variants that are compared with one another under one split of the units.

    Attributes:
        variants: Their tallies, in which a unit of a binary metric counts once.
        units: Units of each; those whose impression is not counted yet are known by the primary
            metric.
        control: Index of the control among them.
        traffic: How the units were split.
        metrics: What is analysed, in order of the names.
    """

    variants: tuple[VariantTally, ...]
    units: tuple[int, ...]
    control: int
    traffic: Traffic
    metrics: Mapping[str, MetricInput]

    @classmethod
    def read(cls, config: ExperimentConfig, tally: Tally, plan: GroupPlan) -> Group:
        """Read the variants of a group.

        Args:
            config: The configuration.
            tally: The sum of the newest cells.
            plan: What to read.
        """
        counted = [tally.variants.get(index, VariantTally()) for index in plan.indices]
        variants = tuple(read_once(config, counted))
        names, periods, covariates = plan.names, None, None
        if plan.is_trial:
            covariates = Covariates.read(variants, len(config.covariates))
            names = names.union(*(variant.metrics for variant in variants))
            periods = PrimaryPeriods.read(config, variants, tally.last_at_ms)
        metrics: dict[str, MetricInput] = {}
        for name in sorted(names):
            if config.spec(name).components is None:
                of_primary = periods if name == config.primary_metric else None
                metrics[name] = SingleInput.read(config, name, variants, of_primary, covariates)
            else:
                metrics[name] = RatioInput.read(config, name, variants)
        traffic = Traffic.of(plan.policy, plan.shares, variants)
        units = tuple(
            max(variant.units, variant.metrics.get(config.primary_metric, _NONE).units)
            for variant in variants
        )
        return cls(variants, units, plan.control, traffic, metrics)

    @property
    def others(self) -> Sequence[int]:
        """Indices of all variants but the control."""
        return [index for index in range(len(self.variants)) if index != self.control]
