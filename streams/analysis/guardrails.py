"""Harm of guardrail metrics beyond the tolerated one, by p-values that hold together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.analysis.group import Group
from streams.analysis.metric_analysis import MetricAnalysis
from streams.experiments.config import ExperimentConfig
from streams.experiments.statistics import Guardrail
from streams.stats.kinds import MetricKind
from streams.stats.sequential.comparison import p_values
from streams.stats.sequential.multiplicity import holm_by_column


def find_harm(
    config: ExperimentConfig,
    group: Group | None,
    metrics: Mapping[str, MetricAnalysis],
    error: float,
) -> tuple[Guardrail, ...]:
    """Return every guardrail of every variant but the control, by p-values that hold together.

    Args:
        config: The guardrail metrics and what harm is tolerated.
        group: The variants; None for no findings.
        metrics: Analysis of these metrics.
        error: Probability of ever finding harm where there is none, in (0, 1).
    """
    if group is None:
        return ()
    control, others = group.control, group.others
    guardrails = [metrics[name] for name in config.guardrail_metrics]
    tolerated = [config.spec(each.name).tolerated_harm or 0.0 for each in guardrails]
    harms = [[_harm(each, index, control) for index in others] for each in guardrails]
    columns = [
        _p_values_of_harm(each, share, control, others)
        for each, share in zip(guardrails, tolerated, strict=True)
    ]
    corrected = holm_by_column(columns)
    return tuple(
        Guardrail(
            metric=each.name,
            variant=index,
            tolerated_harm=share,
            harm=harm,
            p_value=p,
            is_tripped=p <= error,
        )
        for each, share, of_each, column in zip(
            guardrails, tolerated, harms, corrected, strict=True
        )
        for index, harm, p in zip(others, of_each, column, strict=True)
    )


def _p_values_of_harm(
    guardrail: MetricAnalysis, tolerated: float, control: int, others: Sequence[int]
) -> list[float]:
    """Return the always-valid p-values of "the harm is what is tolerated, or less".

    A variant is compared with the control made worse by as much as is tolerated.
    """
    contrasts, sign = guardrail.contrasts, guardrail.model.direction.sign
    is_below_zero = guardrail.samples[control].total < 0.0
    times = 1.0 + sign * tolerated if is_below_zero else 1.0 - sign * tolerated
    contrast = contrasts.contrast(others, [control], times)
    return [
        p if sign * difference < 0.0 and contrasts.has_enough([index, control]) else 1.0
        for index, difference, p in zip(
            others, contrast.difference.tolist(), p_values(contrast).tolist(), strict=True
        )
    ]


def _harm(guardrail: MetricAnalysis, variant: int, control: int) -> float | None:
    """Return by how much a variant is worse, as a share of the control's observed mean."""
    mean = guardrail.samples[control].mean
    is_ratio = guardrail.model.kind is MetricKind.RATIO
    if not mean or (is_ratio and not guardrail.tallies[variant].units):
        return None
    better = guardrail.model.direction.sign * (guardrail.samples[variant].mean - mean)
    return -better / abs(mean)
