"""Third stage of an evaluation: lead of the leader, split of the units, guardrails."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from streams.analysis.contrasts import Traffic, Weighting
from streams.analysis.guardrails import find_harm
from streams.analysis.inputs import Inputs
from streams.analysis.metric_analysis import Analysis, MetricAnalysis
from streams.analysis.miscounts import find_miscounts
from streams.experiments.lifecycle import Experiment
from streams.experiments.statistics import (
    Comparison,
    Evidence,
    Maturity,
    SampleRatio,
    SinceConclusion,
)
from streams.stats.bayes.best import Best
from streams.stats.bayes.value_remaining import relative_value_remaining
from streams.stats.direction import Direction
from streams.stats.sequential.comparison import (
    MIN_PLANNED_UNITS,
    intervals,
    p_values,
    pairwise_error,
)
from streams.stats.sequential.tails import units_needed

SRM_ALPHA = 0.001
"""P-value of the sample ratio at which nothing is concluded any more: one experiment in a thousand,
in all of its life, is halted by chance alone."""

_MOST_UNITS = 1e15  # that are asked for: beyond, a number of units is none

NEGLIGIBLE_DIFFERENCE = 0.01
"""Differences from the leader below this share of its mean count as none."""


def compare(inputs: Inputs, analysis: Analysis) -> Evidence:
    """Return the evidence for the recommended action."""
    config, primary, best = inputs.config, analysis.primary, analysis.best
    leader = _leader(primary, best)
    means = primary.posteriors.means
    loss = float(best.expected_loss[leader])
    planned = _planned_units(inputs.experiment, inputs.trial.traffic)
    error = 1.0 - config.significance_threshold
    sample_ratio = _sample_ratio(inputs.trial.traffic)
    harm, harm_since_conclusion = (
        find_harm(config, group, metrics, error, is_trial=group is inputs.trial)
        for group, metrics in (
            (inputs.trial, analysis.metrics),
            (inputs.promoted, analysis.promoted),
        )
    )
    since = None
    if inputs.promoted is not None and inputs.experiment.promotion is not None:
        winner = inputs.experiment.promotion.variant
        units = [0] * len(inputs.trial.variants)
        units[winner], units[inputs.trial.control] = inputs.promoted.units
        found = tuple(replace(each, variant=winner) for each in harm_since_conclusion)
        since = SinceConclusion(winner, tuple(units), found)
    return Evidence(
        leader=leader,
        probability_best=float(best.probability[leader]),
        expected_loss=loss,
        relative_loss=loss / abs(float(means[leader])) if means[leader] else None,
        value_remaining=_or_none(relative_value_remaining(primary.oriented, leader)),
        error=error,
        planned_units=planned,
        units=tuple(round(sample.units) for sample in primary.assigned),
        units_with_value=tuple(round(sample.units_with_value) for sample in primary.assigned),
        units_needed=_units_needed(primary),
        negligible=NEGLIGIBLE_DIFFERENCE * abs(primary.samples[leader].mean),
        duration_ms=inputs.duration_ms,
        comparisons=_comparisons(primary, leader, error, planned),
        sample_ratio=sample_ratio,
        guardrails=harm,
        since_conclusion=since,
        miscounts=find_miscounts(inputs.tally, inputs.trial.variants),
        maturity=Maturity(
            window=primary.model.conversion_window,
            units=tuple(round(sample.units) for sample in primary.samples),
            units_with_value=tuple(round(sample.units_with_value) for sample in primary.samples),
            late=inputs.tally.late,
        ),
    )


def _leader(primary: MetricAnalysis, best: Best) -> int:
    """Return the most probable best variant; of equals that with the better mean, or the first."""
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
    primary: MetricAnalysis, leader: int, error: float, planned_units: int
) -> tuple[Comparison, ...]:
    others = [index for index in range(len(primary.samples)) if index != leader]
    ahead, behind = [leader], others
    if primary.model.direction is Direction.DECREASE:
        ahead, behind = behind, ahead
    leads = primary.contrasts.contrast(ahead, behind)
    ends = intervals(leads, pairwise_error(error, len(primary.samples)), planned_units)
    columns = zip(
        others,
        ends.lower.tolist(),
        ends.upper.tolist(),
        p_values(leads).tolist(),
        leads.has_lower.tolist(),
        strict=True,
    )
    return tuple(
        Comparison(index, _or_none(lower), _or_none(upper), p, tails_seen=tails_seen)
        for index, lower, upper, p, tails_seen in columns
    )


def _units_needed(primary: MetricAnalysis) -> tuple[int, ...]:
    """Return how many units show the tail of each variant; 0 where that does not matter."""
    skewness = primary.contrasts.skewness
    if skewness is None:
        return (0,) * len(primary.samples)
    known = units_needed(np.where(np.isfinite(skewness), skewness, 0.0))
    return tuple(math.ceil(units) for units in np.minimum(known, _MOST_UNITS).tolist())


def _sample_ratio(traffic: Traffic) -> SampleRatio:
    found = traffic.sample_ratio()
    p_value = float(found.p_value)
    ratios = tuple(_or_none(ratio) for ratio in found.ratios.tolist())
    return SampleRatio(p_value, p_value < SRM_ALPHA, ratios)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
