"""Groups of variants that are compared with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streams.analysis.binary_once import once_metrics, read_once
from streams.analysis.covariates import Covariates
from streams.analysis.metric_input import MetricInput, SingleInput
from streams.analysis.primary_periods import PrimaryPeriods
from streams.analysis.quantiles import QuantileInput
from streams.analysis.ratios import RatioInput
from streams.analysis.traffic import Traffic
from streams.experiments.config import ExperimentConfig
from streams.policies.base import Policy
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.chosen_variants import among
from streams.tallies.declared_weights import with_declared_weights
from streams.tallies.pair_sums import unpack_pairs
from streams.tallies.plan import Plan

_NONE = MetricTally()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Plan of a group: its variants, metrics and split of units.

    Attributes:
        indices: Their indices in the tally.
        control: Index of the control in the group.
        policy: The policy that splits the units, with the floor that bounds propensities.
        shares: Declared shares, which sum to 1.
        names: Metrics to read.
        is_trial: Whether undeclared metrics are also read, and the primary one by period.
        measured: Measurement plan; None if the weights of units are always known.
        observed: Further metrics to read.
        start: Integer weights of units whose receipts carry none, for the variants at the start.
        smallest: Smallest weight of each variant of the group so far, where a fixed allocation has
            changed; None where it has not.
        excluded: Units that could not be assigned to each variant of the group.
        n_variants: Variants of the experiment, including stopped ones.
        all_units: Units of all of them.
        is_partial: Whether the group lacks variants of the experiment.
        has_changed: Whether a variant was added, stopped or reactivated, so that not all of the
            group have run all of the time.
    """

    indices: tuple[int, ...]
    control: int
    policy: Policy
    shares: tuple[float, ...]
    names: frozenset[str]
    is_trial: bool
    measured: Plan | None = None
    observed: frozenset[str] = frozenset()
    start: tuple[int, ...] = ()
    smallest: tuple[int, ...] | None = None
    excluded: tuple[int, ...] = ()
    n_variants: int = 0
    all_units: int | None = None
    is_partial: bool = False
    has_changed: bool = False

    def counted(self, tallies: Mapping[int, VariantTally]) -> list[VariantTally]:
        """Return the tallies of the variants, with the sums by pair of all units."""
        found = [_known(tallies, index) for index in self.indices]
        if self.measured is not None and self.measured.n_compared:
            names, weights = self.measured.declared, self.start
            found = [
                _of_units(with_declared_weights(tally, index, weights, names))
                if index < len(weights) and weights[index]
                else tally
                for index, tally in zip(self.indices, found, strict=True)
            ]
        return [among(tally, self.indices) for tally in found] if self.is_partial else found

    def traffic(self, variants: Sequence[VariantTally]) -> Traffic:
        """Return the split of the units of the variants."""
        return Traffic.of(
            self.policy,
            self.shares,
            variants,
            self.excluded,
            smallest=self.smallest,
            n_variants=self.n_variants,
            all_units=self.all_units,
        )


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
        traffic = plan.traffic(variants)
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
    def read(cls, config: ExperimentConfig, tally: Tally, plan: GroupPlan) -> Group:
        """Read the variants of a group.

        Args:
            config: The configuration.
            tally: The sum of the newest cells.
            plan: What to read.
        """
        windows = {0}.union(map(config.maturity_s, plan.names))
        counted = {
            window_s: plan.counted(tally.mature.get(window_s, {}) if window_s else tally.variants)
            for window_s in windows
        }
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
                config, variants, tally.last_at_ms, are_shared=plan.has_changed
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
        units = tuple(
            max(variant.units, variant.metrics.get(config.primary_metric, _NONE).units)
            for variant in variants
        )
        return cls(plan.indices, variants, units, plan.control, traffic, metrics, compared)

    @property
    def others(self) -> Sequence[int]:
        """Indices of all variants but the control."""
        return [index for index in range(len(self.variants)) if index != self.control]


def _known(variants: Mapping[int, VariantTally], index: int) -> VariantTally:
    """Return the tally of a variant."""
    tally = variants.get(index)
    if tally is None:
        return VariantTally()
    return _of_units(replace(tally, assigned=0) if tally.assigned < 0 else tally)


def _of_units(tally: VariantTally) -> VariantTally:
    """Return the tally of a variant; without units if the sums are inconsistent.

    Impressions and voids arrive in different topics: if a unit is voided before it is counted, some
    sums over the units are temporarily too small. As units differ in their weights, any of the sums
    may be negative while the others are not.
    """
    sums = tally.units, tally.weight, tally.weight_squared
    by_pair = (*unpack_pairs(tally.overlap), *unpack_pairs(tally.overlap_squared))
    if min(*sums, *by_pair) >= 0:
        return tally
    return replace(
        tally,
        units=0,
        weight=0,
        weight_squared=0,
        overlap=0,
        overlap_squared=0,
        gram=(),
        overlap_features=(),
        overlap_gram=(),
    )
