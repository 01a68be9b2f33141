"""One metric of an experiment: its tallies, the kind they have, and the posteriors of its means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.analysis.contrasts import MetricContrasts, Traffic
from streams.analysis.ratios import RatioTallies
from streams.experiments.definition import ExperimentConfig
from streams.experiments.metrics import MetricRole, MetricSpec
from streams.experiments.snapshot import MetricModel
from streams.policies.arms import arms_of
from streams.policies.base import Arm, BetaPolicy
from streams.stats.families.base import WEAK_PRIORS, Priors, VariantMetric
from streams.stats.families.registry import FAMILIES, FoundKind, find_kind
from streams.stats.kinds import MetricKind
from streams.stats.nonstationary.periods import read_periods
from streams.stats.posteriors.base import Posteriors
from streams.stats.posteriors.mirrored import oriented
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally

_NONE = MetricTally()


@dataclass(frozen=True, slots=True, eq=False)
class MetricAnalysis:
    """A metric of all variants, in the order of the definition.

    Attributes:
        model: How it is read.
        tallies: What was counted.
        samples: The same beside the units, all of them alike.
        posteriors: Of the means per unit; of the primary metric as the periods count.
        compared: What comparisons rest on.
    """

    model: MetricModel
    tallies: tuple[MetricTally, ...]
    samples: tuple[Sample, ...]
    posteriors: Posteriors
    compared: MetricContrasts

    @property
    def oriented(self) -> Posteriors:
        """Posteriors of which the largest mean is the best one."""
        return oriented(self.posteriors, self.model.direction)


def model_metric(
    config: ExperimentConfig,
    traffic: Traffic,
    variants: Sequence[VariantTally],
    name: str,
    read: PrimaryByPeriod | None = None,
) -> MetricAnalysis:
    """Return a metric as its kind is modelled.

    The declared kind holds unless the tallies contradict it; then the one they have, and the model
    says so. Priors are declared for a kind, and hold for that one alone.

    Args:
        config: What is declared.
        traffic: How the units were shared out.
        variants: The tallies.
        name: Name of the metric.
        read: What the posteriors are of, as `primary_by_period` gives it; None for all units alike.
    """
    spec, role = config.spec(name), config.role(name)
    ratio = RatioTallies.of(spec, variants)
    if ratio is not None:
        return MetricAnalysis(
            _model(name, role, spec, ratio.found),
            ratio.tallies,
            ratio.unit_samples,
            ratio.posteriors,
            ratio.compared(traffic),
        )
    tallies = tuple(variant.metrics.get(name, _NONE) for variant in variants)
    parts = [()] * len(variants) if read is None else read.parts
    found = find_kind(
        spec.model_kind,
        [
            VariantMetric(variant.units, metric, of_periods)
            for variant, metric, of_periods in zip(variants, tallies, parts, strict=True)
        ],
    )
    samples = tuple(Sample.of(v.units, m) for v, m in zip(variants, tallies, strict=True))
    return MetricAnalysis(
        model=_model(name, role, spec, found),
        tallies=tallies,
        samples=samples,
        posteriors=FAMILIES[found.kind].posteriors(
            read.samples if read else samples, _priors(config, name, role, found)
        ),
        compared=MetricContrasts.of(
            traffic, tallies, samples, is_binary=found.kind is MetricKind.BINARY
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PrimaryByPeriod:
    """The primary metric with units that count by their time; one entry a variant.

    Attributes:
        samples: What posteriors and policy are to see.
        parts: Tallies of the periods.
    """

    samples: tuple[Sample, ...]
    parts: tuple[tuple[MetricTally, ...], ...]

    @property
    def is_binary(self) -> bool:
        """Whether the values of every period may all be 0 or 1."""
        return all(
            FAMILIES[MetricKind.BINARY].allows(part) for parts in self.parts for part in parts
        )


def primary_by_period(
    config: ExperimentConfig, variants: Sequence[VariantTally], now_ms: int
) -> PrimaryByPeriod | None:
    """Return the primary metric with units that count by their time.

    Args:
        config: What is declared.
        variants: The tallies.
        now_ms: Time of the newest event.

    Returns:
        None if all units count alike, because nothing else is declared, or because some units were
        counted without their period: before the experiment was created, or by somebody else.
    """
    if config.periods is None:
        return None
    if not all(_is_complete(variant, config.primary_metric) for variant in variants):
        return None
    return PrimaryByPeriod(
        read_periods(variants, config.periods.reading, now_ms),
        tuple(
            tuple(
                MetricTally(
                    units=each.units_with_value,
                    total=each.total,
                    total_squared=each.total_squared,
                )
                for each in variant.periods.values()
            )
            for variant in variants
        ),
    )


def _is_complete(variant: VariantTally, metric: str) -> bool:
    units = sum(each.units for each in variant.periods.values())
    with_value = sum(each.units_with_value for each in variant.periods.values())
    return (units, with_value) == (variant.units, variant.metrics.get(metric, _NONE).units)


def arms_of_primary(
    config: ExperimentConfig,
    variants: Sequence[VariantTally],
    weights: Sequence[float],
    read: PrimaryByPeriod | None = None,
) -> tuple[Arm, ...]:
    """Return the arms that the policy of an experiment sees.

    Args:
        config: What is declared.
        variants: The tallies.
        weights: Declared shares, which sum to 1.
        read: What `primary_by_period` gives; None for all units alike.
    """
    ratio = RatioTallies.of(config.spec(config.primary_metric), variants)
    if ratio is not None:
        return ratio.arms(weights)
    arms = arms_of(variants, config.primary_metric, weights)
    if read is None:
        return arms
    is_binary_by_period = read.is_binary
    return tuple(
        replace(
            arm,
            units=sample.units,
            total=sample.total,
            squared_deviations=sample.squared_deviations,
            is_binary=arm.is_binary and is_binary_by_period,
        )
        for arm, sample in zip(arms, read.samples, strict=True)
    )


def _model(name: str, role: MetricRole, spec: MetricSpec, found: FoundKind) -> MetricModel:
    return MetricModel(
        name=name,
        role=role,
        direction=spec.direction,
        kind=found.kind,
        is_declared=found.is_declared,
        contradiction=found.contradiction,
    )


def _priors(config: ExperimentConfig, name: str, role: MetricRole, found: FoundKind) -> Priors:
    policy = config.parameters
    if (
        found.kind is MetricKind.BINARY
        and role is MetricRole.PRIMARY
        and isinstance(policy, BetaPolicy)
    ):
        return Priors(alpha=policy.prior_alpha, beta=policy.prior_beta)
    return config.spec(name).priors if found.is_declared else WEAK_PRIORS
