"""From an experiment and its tally to all that is published of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streams.analysis.binary_once import read_once
from streams.analysis.contrasts import Traffic
from streams.analysis.decision import decide
from streams.analysis.evidence import gather
from streams.analysis.guardrails import corrected
from streams.analysis.metric_analysis import (
    MetricAnalysis,
    arms_of_primary,
    model_metric,
    primary_by_period,
)
from streams.analysis.miscounts import find_miscounts
from streams.analysis.post_promotion import since_conclusion
from streams.experiments.contextual import feature_uses, weigh
from streams.experiments.lifecycle import Experiment
from streams.experiments.metrics import MetricRole
from streams.experiments.snapshot import (
    AgainstControl,
    Allocation,
    CellPlace,
    MetricReport,
    Snapshot,
    VariantReport,
)
from streams.policies.arm_posteriors import best_arm
from streams.policies.base import Arm, BetaPolicy, Policy
from streams.stats.arrays import FloatArray
from streams.stats.bayes.best import Best, best
from streams.stats.bayes.credible import equal_tailed
from streams.stats.bayes.lift import Lift, lifts_vs_control
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind
from streams.tallies.cell import Tally, VariantTally


def evaluate(experiment: Experiment, tally: Tally, cells: Sequence[CellPlace]) -> Snapshot:
    """Return what is known of an experiment: allocation, reports and recommended action.

    It is a function of its arguments alone, so a replay that ends in the same tally gives the same
    snapshot. Impressions and observations come by different topics: an observation may be here
    before its impression, and then its unit counts as assigned.

    Args:
        experiment: Definition and lifecycle.
        tally: Sum of the newest cells. Of indices beyond the variants of the definition, those
            since the conclusion tell how a promoted winner does; others are left out.
        cells: Where those cells ended, in order of source and partition.
    """
    definition = experiment.definition
    config = definition.config
    n_variants = len(definition.variants)
    variants = read_once(
        config, [tally.variants.get(index, VariantTally()) for index in range(n_variants)]
    )
    policy = definition.policy
    read = primary_by_period(config, variants, tally.last_at_ms)
    arms = arms_of_primary(config, variants, definition.weights, read)
    is_mirrored = config.spec(config.primary_metric).direction is Direction.DECREASE
    if is_mirrored:  # policies maximise
        policy, arms = policy.mirrored(), tuple(arm.mirrored() for arm in arms)
    # By the floor that holds whoever promotes, as that may change while units come.
    traffic = Traffic.of(config.parameters, arms, variants)
    names = {config.primary_metric, *config.secondary_metrics, *config.guardrail_metrics}
    names.update(*(variant.metrics for variant in variants))
    metrics = {
        name: model_metric(
            config, traffic, variants, name, read if name == config.primary_metric else None
        )
        for name in sorted(names)
    }

    primary = metrics[config.primary_metric]
    winner = _best(primary, policy, arms)
    guardrails = [metrics[name] for name in config.guardrail_metrics]
    # What claims to be of before the start makes no experiment older.
    begun_at_ms = max(tally.first_at_ms, experiment.started_at_ms or 0)
    duration_ms = max(tally.last_at_ms - begun_at_ms, 0)
    since = since_conclusion(experiment, tally)
    evidence = gather(
        experiment,
        traffic,
        primary,
        guardrails,
        winner,
        duration_ms,
        find_miscounts(tally, variants),
        since,
    )
    decision = decide(experiment, primary.model, evidence)
    columns = _reports(metrics, definition.control_index)
    weights, model = weigh(policy, variants, primary.model.name, arms, is_mirrored=is_mirrored)
    version = experiment.version + sum(cell.hw + 1 for cell in cells)
    # A fixed allocation keeps its version, and with it every unit keeps its receipt.
    allocated = version if policy.adaptive else experiment.started_version
    if experiment.promotion is not None:
        weights = experiment.promotion.weights(n_variants, definition.control_index)
        allocated, model = experiment.promotion.version, None
    return Snapshot(
        experiment=experiment,
        version=version,
        allocation=Allocation(allocated, weights),
        variants=tuple(
            VariantReport(
                assignments=variant.units,
                observations=sum(metric.observations for metric in variant.metrics.values()),
                mean=(read.samples if read else primary.samples)[index].mean,
                lower=columns[config.primary_metric][index].lower,
                upper=columns[config.primary_metric][index].upper,
                probability_best=float(winner.probability[index]),
                expected_loss=float(winner.expected_loss[index]),
                metrics=tuple(column[index] for column in columns.values()),
            )
            for index, variant in enumerate(variants)
        ),
        winner=decision.winner,
        confidence=evidence.probability_best,
        recommended_action=decision.recommended_action,
        reason=decision.reason,
        duplicates=tally.duplicates,
        cells=tuple(cells),
        as_of_ms=tally.last_at_ms,
        model=model,
        metrics=tuple(metric.model for metric in metrics.values()),
        evidence=evidence,
        features=feature_uses(policy, variants),
    )


def _best(primary: MetricAnalysis, policy: Policy, arms: tuple[Arm, ...]) -> Best:
    """Return who is best by the primary metric.

    Of a binary one the policy asks the same, and the answer is remembered.
    """
    if primary.model.kind is MetricKind.BINARY and isinstance(policy, BetaPolicy):
        return best_arm(arms, prior_alpha=policy.prior_alpha, prior_beta=policy.prior_beta)
    return best(primary.oriented)


def _reports(metrics: Mapping[str, MetricAnalysis], control: int) -> dict[str, list[MetricReport]]:
    """Return the reports of every metric, of all variants each."""
    p_values: dict[str, list[float]] = {}
    for role in (MetricRole.PRIMARY, MetricRole.SECONDARY, MetricRole.GUARDRAIL):
        family = {name: each for name, each in metrics.items() if each.model.role is role}
        others = [index for index in range(_n_variants(metrics)) if index != control]
        found = corrected([each.compared.p_values(control, others) for each in family.values()])
        p_values |= dict(zip(family, found, strict=True))
    # What nobody has declared is described, and not compared.
    declared = [metrics[name] for name in p_values]
    lifts = lifts_vs_control(
        [metric.posteriors for metric in declared],
        control,
        directions=[metric.model.direction for metric in declared],
    )
    against = {
        name: _against_control(found, control, p_values[name])
        for name, found in zip(p_values, lifts, strict=True)
    }
    return {name: _report(metric, against.get(name)) for name, metric in metrics.items()}


def _n_variants(metrics: Mapping[str, MetricAnalysis]) -> int:
    return len(next(iter(metrics.values())).samples)


def _report(
    metric: MetricAnalysis, against: Sequence[AgainstControl | None] | None
) -> list[MetricReport]:
    """Return the report of one metric of every variant; `against` is None if none is compared."""
    if against is not None and metric.model.kind is MetricKind.RATIO:
        against = _defined(against, [tally.units > 0 for tally in metric.tallies])
    lower, upper = equal_tailed(metric.posteriors)
    columns = metric.posteriors.means.tolist(), lower.tolist(), upper.tolist()
    return [
        MetricReport(
            name=metric.model.name,
            kind=metric.model.kind,
            units=tally.units,
            observations=tally.observations,
            total=tally.total,
            mean=mean,
            lower=low,
            upper=high,
            against_control=compared,
        )
        for tally, mean, low, high, compared in zip(
            metric.tallies, *columns, against or [None] * len(metric.tallies), strict=True
        )
    ]


def _defined(
    against: Sequence[AgainstControl | None], has_denominator: Sequence[bool]
) -> list[AgainstControl | None]:
    """Return how ratios compare with the control, None where either of the two does not exist."""
    is_control_defined = all(
        known for known, found in zip(has_denominator, against, strict=True) if found is None
    )
    return [
        found if known and is_control_defined else None
        for known, found in zip(has_denominator, against, strict=True)
    ]


def _against_control(
    found: Lift, control: int, p_values: Sequence[float]
) -> list[AgainstControl | None]:
    """Return how every variant compares with the control, which itself has None.

    Args:
        found: Their lifts.
        control: Index of the control.
        p_values: Of all variants but the control, in their order.
    """
    columns = [_numbers(getattr(found, name)) for name in Lift.__slots__]
    columns.append([*p_values[:control], None, *p_values[control:]])
    return [
        None if index == control else AgainstControl(*each)
        for index, each in enumerate(zip(*columns, strict=True))
    ]


def _numbers(column: FloatArray) -> list[Any]:
    """Return numbers, and None for what is none."""
    numbers: list[Any] = column.tolist()
    if np.isfinite(column).all():
        return numbers
    return [number if math.isfinite(number) else None for number in numbers]
