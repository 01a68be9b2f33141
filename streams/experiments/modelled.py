"""One metric of an experiment: its tallies, the kind they have, and the posteriors of its means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.allocation.arms import arms_of
from streams.allocation.policies import Arm, BetaPolicy
from streams.experiments.comparing import Compared, Traffic
from streams.experiments.definition import ExperimentConfig
from streams.experiments.metrics import MetricRole, MetricSpec
from streams.experiments.ratios import RatioTallies
from streams.experiments.snapshot import MetricModel
from streams.inference.direction import oriented
from streams.inference.families import Priors, posteriors_of
from streams.inference.kinds import FoundKind, MetricKind, VariantMetric, find_kind
from streams.inference.periods import read_periods
from streams.inference.posterior import Posteriors
from streams.inference.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally

_NONE = MetricTally()


@dataclass(frozen=True, slots=True, eq=False)
class Modelled:
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
    compared: Compared

    @property
    def oriented(self) -> Posteriors:
        """Posteriors of which the largest mean is the best one."""
        return oriented(self.posteriors, self.model.direction)


def model_metric(
    config: ExperimentConfig,
    traffic: Traffic,
    variants: Sequence[VariantTally],
    name: str,
    read: Sequence[Sample] | None = None,
) -> Modelled:
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
        return Modelled(
            _model(name, role, spec, ratio.found),
            ratio.tallies,
            ratio.unit_samples,
            ratio.posteriors,
            ratio.compared(traffic),
        )
    tallies = tuple(variant.metrics.get(name, _NONE) for variant in variants)
    found = find_kind(
        spec.kind, [VariantMetric(v.units, m) for v, m in zip(variants, tallies, strict=True)]
    )
    samples = tuple(Sample.of(v.units, m) for v, m in zip(variants, tallies, strict=True))
    is_binary = found.kind is MetricKind.BINARY
    return Modelled(
        model=_model(name, role, spec, found),
        tallies=tallies,
        samples=samples,
        posteriors=posteriors_of(found.kind, read or samples, _priors(config, name, role, found)),
        compared=Compared.of(traffic, tallies, samples, is_binary=is_binary),
    )


def primary_by_period(
    config: ExperimentConfig, variants: Sequence[VariantTally], now_ms: int
) -> tuple[Sample, ...] | None:
    """Return the samples of the primary metric in which units count by their time.

    Args:
        config: What is declared.
        variants: The tallies.
        now_ms: Time up to which observations have been counted.

    Returns:
        One sample a variant; None if all units count alike.
    """
    if config.periods is None:
        return None
    return read_periods(variants, config.periods.reading, now_ms)


def arms_of_primary(
    config: ExperimentConfig,
    variants: Sequence[VariantTally],
    weights: Sequence[float],
    read: Sequence[Sample] | None = None,
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
    return tuple(
        replace(
            arm,
            units=sample.units,
            total=sample.total,
            squared_deviations=sample.squared_deviations,
        )
        for arm, sample in zip(arms, read, strict=True)
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
    is_binary = found.kind is MetricKind.BINARY
    if is_binary and role is MetricRole.PRIMARY and isinstance(policy, BetaPolicy):
        return Priors(alpha=policy.prior_alpha, beta=policy.prior_beta)
    return config.spec(name).priors if found.is_declared else Priors()
