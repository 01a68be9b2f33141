"""Snapshot of an evaluation: its allocation, and the reports of its variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from streams.analysis.decision import Verdict
from streams.analysis.dimensions import dimension_reports
from streams.analysis.inputs import Inputs
from streams.analysis.metric_analysis import Analysis, MetricAnalysis
from streams.experiments.contextual import covariate_uses, feature_uses, weigh
from streams.experiments.roster import spread
from streams.experiments.snapshot import Allocation, CellPlace, PublishedModel, Snapshot
from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.feature_use import FeatureUse
from streams.experiments.statistics.left_out import OutsideCount, VoidedUnits
from streams.experiments.statistics.variant_report import (
    AgainstControl,
    MetricReport,
    VariantReport,
)
from streams.stats.arrays import FloatArray
from streams.stats.bayes.credible import equal_tailed
from streams.stats.bayes.lift import Lift
from streams.stats.posterior_parameters import MetricPosterior
from streams.stats.posteriors.base import PublishedPosteriors
from streams.stats.sequential.comparison import Intervals
from streams.stats.sequential.relative import Ratio, share_of_control
from streams.tallies.cell import VariantTally

_NO_ENDS = (math.nan,) * 4  # of a sequence, and of the lift that follows from it


def snapshot_of(
    inputs: Inputs,
    analysis: Analysis,
    evidence: Evidence,
    decision: Verdict,
    cells: Sequence[CellPlace],
) -> Snapshot:
    """Return the snapshot of an evaluation; `cells` are those of the tally, in its order."""
    version = inputs.experiment.version + sum(cell.last_offset + 1 for cell in cells)
    variants = _variants(inputs, analysis)
    allocation, model, features = _policy_state(inputs, version)
    return Snapshot(
        experiment=inputs.experiment,
        version=version,
        allocation=allocation,
        variants=variants,
        winner=decision.winner,
        confidence=evidence.probability_best,
        recommended_action=decision.recommended_action,
        reason_code=decision.reason_code,
        duplicates=inputs.tally.duplicates,
        cells=tuple(cells),
        as_of_ms=inputs.tally.last_at_ms,
        model=model,
        metrics={name: metric.model for name, metric in analysis.metrics.items()},
        evidence=evidence,
        features=features,
        voided=tuple(VoidedUnits(*each) for each in inputs.tally.voids.items()),
        outside=tuple(OutsideCount(*each) for each in inputs.tally.outside.items()),
        dimensions=dimension_reports(inputs),
    )


def _policy_state(
    inputs: Inputs, version: int
) -> tuple[Allocation, PublishedModel | None, tuple[FeatureUse, ...]]:
    """Return the weights in force and, under a contextual policy, its model and features."""
    experiment, policy = inputs.experiment, inputs.policy
    variants, promotion = inputs.variants, experiment.promotion
    features = feature_uses(policy, variants) or covariate_uses(inputs.config.covariates, variants)
    if promotion is not None:
        control = experiment.definition.control_index
        weights = promotion.weights(len(variants), control)
        return Allocation(promotion.version, weights), None, features
    weights, model = weigh(
        policy,
        inputs.trial.variants,
        inputs.config.primary_metric,
        inputs.arms,
        is_mirrored=inputs.is_mirrored,
    )
    if inputs.stopped:
        weights = spread(weights, inputs.trial.indices, len(variants))
    # A fixed allocation keeps its version, and with it every unit keeps its receipt.
    allocated = version if policy.adaptive else experiment.fixed_version
    return Allocation(allocated, weights), model, features


def _variants(inputs: Inputs, analysis: Analysis) -> tuple[VariantReport, ...]:
    trial, best = inputs.trial, analysis.best
    columns = {name: _reports(metric, trial.control) for name, metric in analysis.metrics.items()}
    found = {
        index: _variant(
            inputs,
            trial.variants[place],
            {name: column[place] for name, column in columns.items()},
            (float(best.probability[place]), float(best.expected_loss[place])),
        )
        for place, index in enumerate(trial.indices)
    }
    for index, metrics in analysis.stopped.items():
        of_it = {name: _reports(metric, 0)[1] for name, metric in metrics.items()}
        # It cannot be chosen, so it is not the best one, and nothing is lost by it.
        found[index] = _variant(inputs, inputs.stopped[index].variants[1], of_it, (0.0, 0.0))
    return tuple(found[index] for index in sorted(found))


def _variant(
    inputs: Inputs,
    tally: VariantTally,
    metrics: dict[str, MetricReport],
    as_best: tuple[float, float],
) -> VariantReport:
    """Return the report of a variant.

    Args:
        inputs: Inputs of the evaluation.
        tally: Its tally.
        metrics: Reports of its metrics.
        as_best: Probability and expected loss of it as the best one.
    """
    ends = metrics[inputs.config.primary_metric]
    return VariantReport(
        assignments=tally.assigned if inputs.is_by_exposure else tally.units,
        exposures=tally.units if inputs.is_by_exposure else None,
        observations=sum(metric.observations for metric in tally.metrics.values()),
        mean=ends.mean,
        lower=ends.lower,
        upper=ends.upper,
        probability_best=as_best[0],
        expected_loss=as_best[1],
        metrics=metrics,
    )


def _reports(metric: MetricAnalysis, control: int) -> list[MetricReport]:
    """Return the report of one metric for every variant."""
    defined = metric.is_defined
    against = _against_control(metric, control)
    if against is not None:
        against = _defined(against, defined)
    lower, upper = metric.anytime or equal_tailed(metric.posteriors)
    columns = metric.posteriors.means.tolist(), _numbers(lower), _numbers(upper)
    posteriors = _posteriors(metric.posteriors)
    return [
        MetricReport(
            kind=metric.model.kind,
            units=tally.units,
            observations=tally.observations,
            sum_micro=tally.total,
            mean=mean if is_defined else None,
            lower=low if is_defined else None,
            upper=high if is_defined else None,
            against_control=compared,
            posterior=posterior if is_defined else None,
        )
        for tally, is_defined, mean, low, high, compared, posterior in zip(
            metric.tallies,
            defined,
            *columns,
            against or [None] * len(metric.tallies),
            posteriors,
            strict=True,
        )
    ]


def _posteriors(found: PublishedPosteriors) -> list[MetricPosterior | None]:
    """Return the posterior of every variant; None where a parameter is not finite."""
    parameters = found.parameters
    rows = zip(*(column.tolist() for column in parameters.values()), strict=True)
    return [
        MetricPosterior(found.family, dict(zip(parameters, row, strict=True)))
        if all(map(math.isfinite, row))
        else None
        for row in rows
    ]


def _defined(
    against: Sequence[AgainstControl | None], defined: Sequence[bool]
) -> list[AgainstControl | None]:
    """Return how means compare with the control, None where either of the two does not exist."""
    is_control_defined = all(
        known for known, found in zip(defined, against, strict=True) if found is None
    )
    return [
        found if known and is_control_defined else None
        for known, found in zip(defined, against, strict=True)
    ]


def _against_control(metric: MetricAnalysis, control: int) -> list[AgainstControl | None] | None:
    """Return the comparisons with the control, which itself has None; None if none is made."""
    if metric.lift is None or metric.p_values is None:
        return None
    columns = [_numbers(getattr(metric.lift, name)) for name in Lift.__slots__]
    columns.append([*metric.p_values[:control], None, *metric.p_values[control:]])
    if metric.sequence is not None and metric.differences is not None:
        columns += _sequence(metric.sequence, metric.differences, metric, metric.lift, control)
    else:
        columns += [[None] * len(metric.tallies)] * 4
    undefined = metric.undefined_sequences
    columns.append([*undefined[:control], None, *undefined[control:]])
    return [
        None if index == control else AgainstControl(*each)
        for index, each in enumerate(zip(*columns, strict=True))
    ]


def _sequence(
    found: Intervals, differences: FloatArray, metric: MetricAnalysis, lift: Lift, control: int
) -> list[list[Any]]:
    """Return the ends of the sequences of the differences, and those of the lifts."""
    ends = [_NO_ENDS] * len(metric.tallies)
    relative = lift.relative.tolist()
    others = [index for index in range(len(metric.tallies)) if index != control]
    each = zip(
        others, differences.tolist(), found.lower.tolist(), found.upper.tolist(), strict=True
    )
    for index, difference, lower, upper in each:
        of_lift = _NO_ENDS[:2]
        mean = metric.contrasts.mean_beside(control, index)
        if mean > 0.0 and math.isfinite(relative[index]) and math.isfinite(difference):
            share = share_of_control(metric.reported[index], metric.reported[control])
            ratio = Ratio(difference, mean, share)
            of_lift = ratio.lower(lower), ratio.upper(upper)
        ends[index] = lower, upper, *of_lift
    return [_finite(column) for column in zip(*ends, strict=True)]


def _numbers(column: FloatArray) -> list[Any]:
    """Return numbers, and None for what is not finite."""
    return _finite(column.tolist())


def _finite(numbers: Sequence[float]) -> list[Any]:
    if all(map(math.isfinite, numbers)):  # of a few, sooner than an array of booleans
        return list(numbers)
    return [number if math.isfinite(number) else None for number in numbers]
