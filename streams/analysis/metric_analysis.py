"""Second stage of an evaluation: kind, posteriors, contrasts, lift and p-values of every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streams.analysis.contrasts import MetricContrasts, p_values_of
from streams.analysis.group import Group
from streams.analysis.inputs import Inputs
from streams.analysis.leads import Leads, compare_primary
from streams.analysis.metric_input import MetricInput
from streams.experiments.config import ExperimentConfig
from streams.experiments.statistics.metric_model import MetricModel, MetricRole, Periods
from streams.experiments.statistics.undefined_sequence import (
    UndefinedSequence,
    UndefinedSequenceCode,
)
from streams.policies.arm_posteriors import best_under
from streams.stats.arrays import FloatArray
from streams.stats.bayes.best import BestArm
from streams.stats.bayes.lift import Lift, lifts_vs_control
from streams.stats.kinds import MetricKind
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.base import Posteriors, PublishedPosteriors
from streams.stats.posteriors.mirrored import oriented
from streams.stats.sample import Sample
from streams.stats.sequential.comparison import Intervals
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.multiplicity import ONE, Tried, holm, holm_by_column
from streams.tallies.cell import MetricTally

_CORRECTED = (MetricRole.SECONDARY, MetricRole.GUARDRAIL)
_COMPARED = (MetricRole.PRIMARY, *_CORRECTED)
_NOT_PRIMARY = UndefinedSequence(UndefinedSequenceCode.NOT_PRIMARY)
_STOPPED = UndefinedSequence(UndefinedSequenceCode.STOPPED)


@dataclass(frozen=True, slots=True, eq=False)
class MetricAnalysis:
    """Analysis of one metric of several variants, in their order.

    Attributes:
        name: Name of the metric.
        model: Kind, role and direction.
        tallies: Published counts.
        assigned: Sums over all units.
        samples: Unweighted sums over the compared units.
        reported: Samples of the posteriors: reweighted if the weights moved, or weighted by period.
        is_defined: Whether the mean of each variant exists: it has units and, for a ratio, a
            denominator.
        posteriors: Posteriors of the means per unit.
        contrasts: The sums by which the variants are compared.
        table: The posteriors with their distribution functions; only for the primary metric, else
            None.
        lift: Lifts over the control; None for an undeclared metric.
        anytime: As in `MetricInput`.
        p_values: Always-valid p-values of "equal to the control" for all other variants, corrected
            for all metrics of the role; None for an undeclared metric.
        sequence: Ends of the confidence sequences of "variant - control", of the same variants;
            None of all but the primary metric.
        differences: Estimates of the same differences; None likewise.
        undefined_sequences: Reason why each of these variants has no sequence, or only one end.
    """

    name: str
    model: MetricModel
    tallies: tuple[MetricTally, ...]
    assigned: tuple[Sample, ...]
    samples: tuple[Sample, ...]
    reported: tuple[Sample, ...]
    is_defined: tuple[bool, ...]
    posteriors: PublishedPosteriors
    contrasts: MetricContrasts
    table: TabulatedPosteriors | None
    lift: Lift | None
    p_values: tuple[float, ...] | None
    sequence: Intervals | None
    differences: FloatArray | None = None
    anytime: tuple[FloatArray, FloatArray] | None = None
    undefined_sequences: tuple[UndefinedSequence | None, ...] = ()

    @property
    def oriented(self) -> Posteriors:
        """Posteriors oriented so that the largest mean is the best."""
        return oriented(self.posteriors, self.model.direction)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Analysis of all metrics of an experiment.

    Attributes:
        primary: The primary metric.
        metrics: Every declared or observed metric, sorted by name.
        best: P(best) and expected loss of every variant.
        against_control: Contrasts of "variant - control" by the primary metric, of all but the
            control.
        leads: Comparisons of the leader with the other variants.
        promoted: Guardrail metrics since the conclusion; empty without a promotion.
        stopped: Every metric of the control and a stopped variant, by the index of the latter.
    """

    primary: MetricAnalysis
    metrics: Mapping[str, MetricAnalysis]
    best: BestArm
    against_control: Contrast
    leads: Leads
    promoted: Mapping[str, MetricAnalysis]
    stopped: Mapping[int, Mapping[str, MetricAnalysis]]


def analyse(inputs: Inputs) -> Analysis:
    """Analyse every metric of an experiment."""
    metrics, promoted = (
        _analysed(inputs.config, group, tried)
        for group, tried in ((inputs.trial, inputs.tried), (inputs.promoted, ONE))
    )
    primary = metrics[inputs.config.primary_metric]
    # The policy also sees immature units, and uses other weights if the allocation moved.
    is_of_arms = (
        primary.model.kind is MetricKind.BINARY
        and primary.reported == inputs.trial.metrics[primary.name].all_samples
    )
    best = best_under(inputs.policy, inputs.arms, primary.oriented, is_binary=is_of_arms)
    trial = inputs.trial
    compared = compare_primary(
        inputs.config,
        primary.contrasts,
        primary.model.direction,
        _leader(primary, best),
        trial.control,
        trial.others,
        # Any variant, including stopped ones, might have been declared.
        inputs.tried,
    )
    tried = inputs.tried
    p_values = holm(compared.p_values.tolist(), among=tried.so_far, share=tried.share)
    primary = replace(
        primary,
        p_values=tuple(p_values.tolist()),
        sequence=compared.sequence,
        differences=compared.contrasts.difference,
        undefined_sequences=compared.undefined,
    )
    metrics[primary.name] = primary
    stopped = {index: _described(inputs.config, group) for index, group in inputs.stopped.items()}
    return Analysis(primary, metrics, best, compared.contrasts, compared.leads, promoted, stopped)


def _leader(primary: MetricAnalysis, best: BestArm) -> int:
    """Return the most probable best variant; ties are broken by the mean, then the order."""
    sign = primary.model.direction.sign
    return max(
        range(len(primary.samples)),
        key=lambda index: (best.probability[index], sign * primary.reported[index].mean, -index),
    )


def _analysed(
    config: ExperimentConfig, group: Group | None, tried: Tried
) -> dict[str, MetricAnalysis]:
    if group is None:
        return {}
    contrasts = {
        name: metric.contrasts(group.compared[name].traffic)
        for name, metric in group.metrics.items()
    }
    reported = {name: metric.reported(contrasts[name]) for name, metric in group.metrics.items()}
    posteriors = {name: metric.posteriors(reported[name]) for name, metric in group.metrics.items()}
    others = group.others
    corrected = [name for name, each in group.metrics.items() if each.role in _CORRECTED]
    found = p_values_of([contrasts[name] for name in corrected], group.control, others)
    alone, p_values = dict(zip(corrected, found, strict=True)), dict[str, list[float]]()
    for role in _CORRECTED:
        family = [name for name, metric in group.metrics.items() if metric.role is role]
        columns = holm_by_column([alone[name] for name in family], tried)
        p_values |= zip(family, columns, strict=True)
    # Undeclared metrics are described and not compared.
    declared = [name for name, each in group.metrics.items() if each.role in _COMPARED]
    declared.sort(key=lambda name: posteriors[name].family)  # group by family
    of_primary, lift_of = None, dict[str, Lift]()
    if declared:
        table = TabulatedPosteriors.of(*(posteriors[name] for name in declared))
        directions = [group.metrics[name].spec.direction for name in declared]
        if config.primary_metric in declared:
            of_primary = table.of_family(declared.index(config.primary_metric))
        lifts = lifts_vs_control(table, group.control, directions=directions)
        lift_of = dict(zip(declared, lifts, strict=True))
    return {
        name: MetricAnalysis(
            name=name,
            model=_model(config, metric, group.indices, contrasts[name]),
            tallies=metric.tallies,
            assigned=metric.assigned,
            samples=metric.samples,
            reported=reported[name],
            is_defined=tuple(
                is_defined and sample.units > 0.0
                for is_defined, sample in zip(metric.is_defined, reported[name], strict=True)
            ),
            posteriors=posteriors[name],
            contrasts=contrasts[name],
            table=of_primary if name == config.primary_metric else None,
            lift=lift_of.get(name),
            p_values=tuple(p_values[name]) if name in p_values else None,
            sequence=None,
            anytime=metric.anytime,
            undefined_sequences=(_NOT_PRIMARY,) * len(others),
        )
        for name, metric in group.metrics.items()
    }


def _described(config: ExperimentConfig, group: Group) -> dict[str, MetricAnalysis]:
    """Return the metrics of a stopped variant and the control, for description only."""
    metrics = _analysed(config, group, ONE)
    primary = metrics[config.primary_metric]
    p_values = tuple(p_values_of([primary.contrasts], group.control, group.others)[0])
    metrics[primary.name] = replace(
        primary, p_values=p_values, undefined_sequences=(_STOPPED,) * len(p_values)
    )
    return metrics


def _model(
    config: ExperimentConfig,
    metric: MetricInput,
    indices: Sequence[int],
    contrasts: MetricContrasts,
) -> MetricModel:
    found, periods = metric.found, config.periods
    is_observed = metric.role is MetricRole.OBSERVED
    contradiction = found.contradiction
    if contradiction is not None:
        contradiction = replace(contradiction, variant=indices[contradiction.variant])
    return MetricModel(
        role=metric.role,
        direction=metric.spec.direction,
        kind=found.kind,
        is_declared=found.is_declared,
        contradiction=contradiction,
        periods=None
        if periods is None or metric.role is not MetricRole.PRIMARY
        else Periods(**periods.model_dump()),
        variance_removed=contrasts.variance_removed,
        winsorized_at=metric.winsorized_at,
        conversion_window=0 if is_observed else config.conversion_window_s(metric.name),
        conversion_delay=metric.spec.conversion_delay,
        only_mature=is_observed or config.is_only_mature(metric.name),
    )
