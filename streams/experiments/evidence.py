"""What speaks for which action: the leader's lead, the units' arrival, and the guardrails."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streams.experiments.comparing import Traffic, Weighting
from streams.experiments.lifecycle import Experiment
from streams.experiments.modelled import Modelled
from streams.experiments.snapshot import (
    Comparison,
    Evidence,
    GuardrailFinding,
    SampleRatioFinding,
)
from streams.inference.best import Best
from streams.inference.comparison import (
    MIN_PLANNED_UNITS,
    intervals,
    p_values,
    pairwise_error,
)
from streams.inference.direction import Direction
from streams.inference.multiplicity import holm
from streams.inference.remaining import relative_value_remaining

MISMATCH_ERROR = 0.001
"""P-value of the sample ratio at which nothing is concluded any more: one experiment in a thousand,
in all of its life, is halted by chance alone."""

NEGLIGIBLE_DIFFERENCE = 0.01
"""Differences from the leader below this share of its mean count as none."""


def gather(
    experiment: Experiment,
    traffic: Traffic,
    primary: Modelled,
    guardrails: Sequence[Modelled],
    best: Best,
    duration_ms: int,
) -> Evidence:
    """Return what the recommended action follows from.

    Args:
        experiment: Definition and lifecycle.
        traffic: How the units were shared out.
        primary: The primary metric.
        guardrails: The guardrail metrics.
        best: Who is best by the primary metric.
        duration_ms: Time from the oldest to the newest event.
    """
    leader = _leader(primary, best)
    means = primary.posteriors.means
    loss = float(best.expected_loss[leader])
    planned = _planned_units(experiment, traffic)
    error = 1.0 - experiment.definition.config.significance_threshold
    return Evidence(
        leader=leader,
        probability_best=float(best.probability[leader]),
        expected_loss=loss,
        relative_loss=loss / abs(float(means[leader])) if means[leader] else None,
        value_remaining=_or_none(relative_value_remaining(primary.oriented, leader)),
        error=error,
        planned_units=planned,
        units=tuple(round(sample.units) for sample in primary.samples),
        units_with_value=tuple(round(sample.units_with_value) for sample in primary.samples),
        negligible=NEGLIGIBLE_DIFFERENCE * abs(primary.samples[leader].mean),
        duration_ms=duration_ms,
        comparisons=_comparisons(primary, leader, error, planned),
        sample_ratio=_sample_ratio(traffic),
        guardrails=_guardrails(experiment, guardrails, error),
    )


def corrected(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return p-values of several metrics that hold for all of them together, in their places."""
    flat = iter(holm([p for column in columns for p in column]).tolist())
    return [[next(flat) for _ in column] for column in columns]


def _leader(primary: Modelled, best: Best) -> int:
    """Return who is most probably best; of equals the one with the better mean, then the first."""
    sign = primary.model.direction.sign
    return max(
        range(len(primary.samples)),
        key=lambda index: (best.probability[index], sign * primary.samples[index].mean, -index),
    )


def _planned_units(experiment: Experiment, traffic: Traffic) -> int:
    """Return the size that was planned, if there was one: moving weights make no use of it."""
    is_fixed = traffic.weighting is Weighting.PLAIN
    is_plan = is_fixed and experiment.planned_units >= MIN_PLANNED_UNITS
    return experiment.planned_units if is_plan else 0


def _comparisons(
    primary: Modelled, leader: int, error: float, planned_units: int
) -> tuple[Comparison, ...]:
    others = [index for index in range(len(primary.samples)) if index != leader]
    ahead, behind = [leader], others
    if primary.model.direction is Direction.DECREASE:
        ahead, behind = behind, ahead
    leads = primary.compared.contrast(ahead, behind)
    ends = intervals(leads, pairwise_error(error, len(primary.samples)), planned_units)
    columns = zip(
        others, ends.lower.tolist(), ends.upper.tolist(), p_values(leads).tolist(), strict=True
    )
    return tuple(
        Comparison(index, _or_none(lower), _or_none(upper), p)
        if primary.compared.has_enough([leader, index])
        else Comparison(index, None, None, 1.0)
        for index, lower, upper, p in columns
    )


def _sample_ratio(traffic: Traffic) -> SampleRatioFinding:
    found = traffic.sample_ratio()
    p_value = float(found.p_value)
    ratios = tuple(_or_none(ratio) for ratio in found.ratios.tolist())
    return SampleRatioFinding(p_value, ratios, is_mismatch=p_value < MISMATCH_ERROR)


def _guardrails(
    experiment: Experiment, guardrails: Sequence[Modelled], error: float
) -> tuple[GuardrailFinding, ...]:
    """Return every guardrail of every variant, with p-values that hold for all together."""
    config = experiment.definition.config
    control = experiment.definition.control_index
    others = [index for index in range(len(experiment.definition.variants)) if index != control]
    tolerated = [config.spec(each.model.name).tolerated_harm or 0.0 for each in guardrails]
    p_of_harm = corrected(
        [
            _p_values_of_harm(each, share, control, others)
            for each, share in zip(guardrails, tolerated, strict=True)
        ]
    )
    return tuple(
        GuardrailFinding(
            metric=each.model.name,
            variant=index,
            tolerated_harm=share,
            harm=_harm(each, index, control),
            p_value=p,
            is_tripped=p <= error,
        )
        for each, share, column in zip(guardrails, tolerated, p_of_harm, strict=True)
        for index, p in zip(others, column, strict=True)
    )


def _p_values_of_harm(
    guardrail: Modelled, tolerated: float, control: int, others: Sequence[int]
) -> list[float]:
    """Return the always-valid p-values of "the harm is what is tolerated, or less".

    A variant is compared with the control made worse by as much as is tolerated.
    """
    compared, sign = guardrail.compared, guardrail.model.direction.sign
    is_below_zero = guardrail.samples[control].total < 0.0
    times = 1.0 + sign * tolerated if is_below_zero else 1.0 - sign * tolerated
    contrast = compared.contrast(others, [control], times)
    return [
        p if sign * difference < 0.0 and compared.has_enough([index, control]) else 1.0
        for index, difference, p in zip(
            others, contrast.difference.tolist(), p_values(contrast).tolist(), strict=True
        )
    ]


def _harm(guardrail: Modelled, variant: int, control: int) -> float | None:
    """Return by how much a variant is worse, as a share of the control's observed mean."""
    mean = guardrail.samples[control].mean
    if not mean:
        return None
    better = guardrail.model.direction.sign * (guardrail.samples[variant].mean - mean)
    return -better / abs(mean)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
