"""Groups of variants that are compared with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.analysis.binary_once import once_metrics, read_once
from streams.analysis.counted_units import CountedUnits
from streams.analysis.covariates import Covariates
from streams.analysis.metric_input import MetricInput, SingleInput
from streams.analysis.primary_periods import PrimaryPeriods
from streams.analysis.quantiles import QuantileInput
from streams.analysis.ratios import RatioInput
from streams.analysis.traffic import Traffic, TrafficPlan
from streams.experiments.config import ExperimentConfig
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.chosen_variants import among

_NONE = MetricTally()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Plan of a group: its variants, metrics and split of units.

    Attributes:
        indices: Their indices in the tally.
        control: Index of the control in the group.
        traffic: How the units were to be split.
        names: Metrics to read.
        is_trial: Whether undeclared metrics are also read, and the primary one by period.
        observed: Further metrics to read.
        is_partial: Whether the group lacks variants of the experiment.
        has_changed: Whether a variant was added, stopped or reactivated, so that not all of the
            group have run all of the time.
    """

    indices: tuple[int, ...]
    control: int
    traffic: TrafficPlan
    names: frozenset[str]
    is_trial: bool
    observed: frozenset[str] = frozenset()
    is_partial: bool = False
    has_changed: bool = False

    def chosen(self, variants: Mapping[int, VariantTally]) -> list[VariantTally]:
        """Return the tallies of the group, with sums by pair for its variants only."""
        found = [variants[index] for index in self.indices]
        return [among(tally, self.indices) for tally in found] if self.is_partial else found


@dataclass(frozen=True, slots=True, eq=False)
class ComparedUnits:
    """The units that comparisons of a metric include.

    Attributes:
        window_s: Conversion window of the metric, in seconds: they are those whose window is over.
            0 for all units.
        variants: Their tallies.
        traffic: Split of these units.
        covariates: Their covariates; None if none are declared.
    """

    window_s: int
    variants: tuple[VariantTally, ...]
    traffic: Traffic
    covariates: Covariates | None

    @classmethod
    def read(
        cls,
        config: ExperimentConfig,
        plan: GroupPlan,
        window_s: int,
        variants: Sequence[VariantTally],
    ) -> ComparedUnits:
        """Read how the units of one window were split, and their covariates.

        Args:
            config: The configuration.
            plan: The group that they belong to.
            window_s: The window; 0 for all units.
            variants: Their tallies.
        """
        traffic = Traffic.of(plan.traffic, variants)
        n_covariates = len(config.covariates) if plan.is_trial else 0
        covariates = Covariates.read(variants, n_covariates, traffic.weighting)
        return cls(window_s, tuple(variants), traffic, covariates)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Variants that are compared with each other under one split of the units.

    Attributes:
        indices: Their indices in the tally.
        variants: Their tallies, with units of binary metrics counted once.
        units: Units of each; units whose impression is not counted yet are known from the primary
            metric.
        control: Index of the control in the group.
        traffic: Split of the units.
        metrics: Metrics to analyse, sorted by name.
        compared: The units by which each of them is compared.
    """

    indices: tuple[int, ...]
    variants: tuple[VariantTally, ...]
    units: tuple[int, ...]
    control: int
    traffic: Traffic
    metrics: Mapping[str, MetricInput]
    compared: Mapping[str, ComparedUnits]

    @classmethod
    def read(cls, config: ExperimentConfig, units: CountedUnits, plan: GroupPlan) -> Group:
        """Read the variants of a group.

        Args:
            config: The configuration.
            units: Units of these variants, and of others.
            plan: What to read.
        """
        windows = {0}.union(map(config.maturity_s, plan.names))
        counted = {window_s: plan.chosen(units.by_window[window_s]) for window_s in windows}
        once = once_metrics(config, counted[0])
        by_window = {
            window_s: ComparedUnits.read(config, plan, window_s, read_once(config, variants, once))
            for window_s, variants in counted.items()
        }
        variants, traffic = by_window[0].variants, by_window[0].traffic
        names, periods = plan.names, None
        if plan.is_trial:
            names = names.union(plan.observed, *(variant.metrics for variant in variants))
            periods = PrimaryPeriods.read(
                config, variants, units.last_at_ms, are_shared=plan.has_changed
            )
        metrics: dict[str, MetricInput] = {}
        compared: dict[str, ComparedUnits] = {}
        for name in sorted(names):
            window_s = config.maturity_s(name) if name in plan.names else 0
            compared[name] = by_window[window_s]
            of_name = by_window[window_s].variants if window_s else None
            if config.spec(name).percentile is not None:
                metrics[name] = QuantileInput.read(
                    config, name, variants, compared[name].traffic, of_name
                )
            elif config.spec(name).components is None:
                of_primary = periods if name == config.primary_metric else None
                metrics[name] = SingleInput.read(
                    config, name, variants, of_primary, compared[name].covariates, of_name
                )
            else:
                metrics[name] = RatioInput.read(config, name, variants, of_name)
        assigned = tuple(
            max(variant.units, variant.metrics.get(config.primary_metric, _NONE).units)
            for variant in variants
        )
        return cls(plan.indices, variants, assigned, plan.control, traffic, metrics, compared)

    @property
    def others(self) -> Sequence[int]:
        """Indices of all variants but the control."""
        return [index for index in range(len(self.variants)) if index != self.control]
