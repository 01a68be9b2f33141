"""Third stage of an evaluation: lead of the leader, split of the units, guardrails."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from streams.analysis.guardrails import find_harm
from streams.analysis.inputs import Inputs
from streams.analysis.leads import Leads
from streams.analysis.metric_analysis import Analysis, MetricAnalysis
from streams.analysis.miscounts import find_miscounts
from streams.analysis.outlook import outlook_of
from streams.analysis.primary_readings import information_in_use
from streams.analysis.traffic import Traffic
from streams.experiments.statistics.evidence import (
    Comparison,
    Evidence,
    SampleRatio,
    SinceConclusion,
)
from streams.experiments.statistics.maturity import Maturity
from streams.stats.bayes.value_remaining import relative_value_remaining
from streams.stats.sequential.multiplicity import ONE
from streams.stats.sequential.tails import units_needed

SRM_ALPHA = 0.001
"""P-value of the sample ratio below which nothing is concluded: one experiment in a thousand is
ever halted by chance."""

_MOST_UNITS = 1e15  # cap of a required number of units, which may be infinite


def compare(inputs: Inputs, analysis: Analysis) -> Evidence:
    """Return the evidence for the recommended action, by the active variants."""
    config, primary, best = inputs.config, analysis.primary, analysis.best
    leads, planned = analysis.leads, information_in_use(config)
    leader = leads.leader
    means, table = primary.posteriors.means, primary.table
    assert table is not None  # noqa: S101 - the primary metric is declared
    loss = float(best.expected_loss[leader])
    error = 1.0 - config.significance_threshold
    sample_ratio = _sample_ratio(inputs.split)
    harm, harm_since_conclusion = (
        find_harm(config, group, metrics, error, tried, is_trial=group is inputs.trial)
        for group, metrics, tried in (
            (inputs.trial, analysis.metrics, inputs.tried),
            (inputs.promoted, analysis.promoted, ONE),
        )
    )
    since = None
    if inputs.promoted is not None and inputs.experiment.promotion is not None:
        winner = inputs.experiment.promotion.variant
        definition = inputs.experiment.definition
        units = [0] * len(definition.variants)
        units[winner], units[definition.control_index] = inputs.promoted.units
        found = tuple(replace(each, variant=winner) for each in harm_since_conclusion)
        since = SinceConclusion(winner, tuple(units), found)
    return Evidence(
        leader=leader,
        probability_best=float(best.probability[leader]),
        expected_loss=loss,
        relative_loss=loss / abs(float(means[leader])) if means[leader] else None,
        value_remaining=_or_none(
            relative_value_remaining(table, leader, direction=primary.model.direction)
        ),
        error=error,
        planned_information=planned,
        progress=None if planned is None else float(leads.variance.min()) / planned,
        units=tuple(round(sample.units) for sample in primary.assigned),
        units_with_value=tuple(round(sample.units_with_value) for sample in primary.assigned),
        units_needed=_units_needed(primary),
        negligible=config.negligible_share * abs(primary.samples[leader].mean),
        duration_ms=inputs.duration_ms,
        comparisons=_comparisons(leads),
        sample_ratio=sample_ratio,
        guardrails=harm,
        since_conclusion=since,
        miscounts=find_miscounts(
            inputs.tally, inputs.variants, is_by_exposure=inputs.is_by_exposure
        ),
        unexposed=inputs.tally.unexposed if inputs.is_by_exposure else None,
        outlook=outlook_of(inputs, analysis),
        maturity=Maturity(
            window=primary.model.maturity,
            units=tuple(round(sample.units) for sample in primary.samples),
            units_with_value=tuple(round(sample.units_with_value) for sample in primary.samples),
            late=inputs.tally.late,
            early=inputs.tally.early,
        ),
        weighting=primary.contrasts.weighting,
        excluded_units=tuple(map(round, inputs.split.excluded.tolist())),
    )


def _comparisons(leads: Leads) -> tuple[Comparison, ...]:
    columns = zip(
        leads.others,
        leads.intervals.lower.tolist(),
        leads.intervals.upper.tolist(),
        leads.p_values.tolist(),
        leads.errors.tolist(),
        leads.tails_seen.tolist(),
        strict=True,
    )
    return tuple(
        Comparison(index, _or_none(lower), _or_none(upper), p, error, tails_seen=tails_seen)
        for index, lower, upper, p, error, tails_seen in columns
    )


def _units_needed(primary: MetricAnalysis) -> tuple[int, ...]:
    """Return the units needed to observe the tail of each variant; 0 if not applicable."""
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
