"""From an experiment and its tally to all that is published of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streams.allocation.arms import arms_of
from streams.allocation.policies import Arm, BetaPolicy
from streams.allocation.policies.posteriors import arm_posteriors, best_arm
from streams.allocation.weights import allocate, smallest_weight
from streams.domain.quantities import ALLOCATION_TOTAL, MICRO
from streams.experiments.contextual import weigh
from streams.experiments.decision import Evidence, decide
from streams.experiments.lifecycle import Experiment
from streams.experiments.snapshot import (
    Allocation,
    CellPlace,
    MetricKind,
    MetricReport,
    Snapshot,
    VariantReport,
)
from streams.inference.confseq import WeightedSums
from streams.inference.credible import equal_tailed
from streams.tallies.cell import MetricTally, Tally, VariantTally


def evaluate(experiment: Experiment, tally: Tally, cells: Sequence[CellPlace]) -> Snapshot:
    """Return what is known of an experiment: allocation, reports and recommended action.

    It is a function of its arguments alone, so a replay that ends in the same tally gives the same
    snapshot. Impressions and observations come by different topics: an observation may be here
    before its impression, and then its unit counts as assigned.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells. Variants the definition does not have are left out.
        cells: Where those cells ended, in order of source and partition.
    """
    config = experiment.definition.config
    policy = config.parameters
    n_variants = len(experiment.definition.variants)
    variants = [tally.variants.get(index, VariantTally()) for index in range(n_variants)]
    names = {config.primary_metric, *config.secondary_metrics}
    names.update(*(variant.metrics for variant in variants))
    columns = {name: _column(experiment, variants, name) for name in sorted(names)}

    primary = columns[config.primary_metric]
    winner = best_arm(primary.arms, **_priors(experiment, config.primary_metric))
    units = sum(arm.units for arm in primary.arms)
    decision = decide(experiment, _evidence(experiment, variants, primary), winner, units)
    weights, model = weigh(policy, variants, config.primary_metric, primary.arms)
    version = experiment.version + sum(cell.hw + 1 for cell in cells)
    return Snapshot(
        experiment=experiment,
        version=version,
        allocation=Allocation(
            # A fixed allocation keeps its version, and with it every unit keeps its receipt.
            version=version if policy.adaptive else experiment.started_version,
            weights=weights,
        ),
        variants=tuple(
            VariantReport(
                assignments=variant.units,
                observations=sum(metric.observations for metric in variant.metrics.values()),
                mean=_mean(primary.arms[index]),
                lower=primary.reports[index].lower,
                upper=primary.reports[index].upper,
                probability_best=float(winner.probability[index]),
                expected_loss=float(winner.expected_loss[index]),
                metrics=tuple(column.reports[index] for column in columns.values()),
            )
            for index, variant in enumerate(variants)
        ),
        winner=decision.winner,
        confidence=decision.confidence,
        recommended_action=decision.recommended_action,
        reason=decision.reason,
        duplicates=tally.duplicates,
        cells=tuple(cells),
        as_of_ms=tally.last_at_ms,
        model=model,
    )


@dataclass(frozen=True, slots=True)
class _Column:
    """One metric of all variants."""

    tallies: tuple[MetricTally, ...]
    arms: tuple[Arm, ...]
    reports: tuple[MetricReport, ...]


def _column(experiment: Experiment, variants: Sequence[VariantTally], name: str) -> _Column:
    tallies = tuple(variant.metrics.get(name, MetricTally()) for variant in variants)
    arms = arms_of(variants, name, experiment.definition.weights)
    posteriors = arm_posteriors(arms, **_priors(experiment, name))
    means = posteriors.means.tolist()
    lower, upper = (ends.tolist() for ends in equal_tailed(posteriors))
    reports = tuple(
        MetricReport(
            name=name,
            kind=MetricKind.BINARY if arms[index].is_binary else MetricKind.CONTINUOUS,
            units=metric.units,
            observations=metric.observations,
            total=metric.total,
            mean=means[index],
            lower=lower[index],
            upper=upper[index],
        )
        for index, metric in enumerate(tallies)
    )
    return _Column(tallies, arms, reports)


def _priors(experiment: Experiment, name: str) -> dict[str, float]:
    """Return the priors the author has set for a metric; they are those of the primary one."""
    config = experiment.definition.config
    policy = config.parameters
    if name == config.primary_metric and isinstance(policy, BetaPolicy):
        return {"prior_alpha": policy.prior_alpha, "prior_beta": policy.prior_beta}
    return {}


def _mean(arm: Arm) -> float:
    return arm.total / arm.units if arm.units else 0.0


def _evidence(
    experiment: Experiment, variants: Sequence[VariantTally], primary: _Column
) -> list[Evidence]:
    policy = experiment.definition.config.parameters
    weights = (
        [smallest_weight(policy, len(variants))] * len(variants)
        if policy.adaptive
        else allocate(policy, primary.arms)
    )
    return [
        Evidence(
            units=variant.units,
            units_with_value=metric.units,
            mean=_mean(arm),
            weighted=WeightedSums(
                total=metric.weighted_total / MICRO**2,
                total_squared=metric.weighted_total_squared / MICRO**4,
                largest=_largest(variant, metric, ALLOCATION_TOTAL / weight)
                if arm.is_binary
                else math.inf,
            ),
            is_binary=arm.is_binary,
        )
        for variant, metric, arm, weight in zip(
            variants, primary.tallies, primary.arms, weights, strict=True
        )
    ]


def _largest(variant: VariantTally, metric: MetricTally, planned: float) -> float:
    """Return a bound of 1 / propensity: the allocation's, unless somebody else has assigned.

    Weights that never exceed the bound have a sum of squares of at most bound times their sum. If
    they do not, the propensities came from elsewhere, and no weight exceeds the root of that sum.
    """
    observed = math.sqrt(variant.weight_squared) / MICRO
    seen = math.sqrt(metric.weighted_total_squared) / MICRO**2
    limit = round(planned * MICRO) + 1  # inverse propensities are rounded to micro-units
    is_ours = (
        variant.weight_squared <= limit * variant.weight
        and metric.weighted_total_squared <= limit * MICRO * metric.weighted_total
    )
    return planned if is_ours else max(planned, observed, seen)
