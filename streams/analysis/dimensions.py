"""Statistics by the values of dimensions: descriptive, and corrected for multiplicity.

A slice is read like the experiment: its units were split by the same weights, and its comparisons
are the same confidence sequences. Of m intervals, all slices times variants times metrics, each has
the error 1 / m of that of the experiment (Bonferroni), so that with equal variants the probability
that any of them ever excludes 0 is at most that. m depends on the definition only, and not on which
slices have units. The p-values of sample ratios are corrected for the slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streams.analysis.binary_once import once_metrics, read_once
from streams.analysis.counted_units import counted
from streams.analysis.evidence import SRM_ALPHA
from streams.analysis.inputs import Inputs
from streams.analysis.metric_input import MetricInput, SingleInput
from streams.analysis.ratios import RatioInput
from streams.analysis.traffic import Traffic
from streams.analysis.trial_plans import TrialPlans, trial_plans
from streams.experiments.config import ExperimentConfig
from streams.experiments.dimensions import Dimension
from streams.experiments.lifecycle import Experiment
from streams.experiments.statistics.dimension_report import (
    DimensionReport,
    SliceContrast,
    SliceMetric,
    SliceRatio,
    SliceVariant,
    ValueReport,
)
from streams.model.dimensions import OTHER, Slice
from streams.stats.sample import Sample
from streams.stats.sequential.comparison import UNPLANNED, both_sides
from streams.stats.sequential.relative import Ratio, share_of_control
from streams.tallies.cell import SliceTally, Tally, VariantTally

_NO_SLICE = SliceTally()


@dataclass(frozen=True, slots=True)
class _Reading:
    """Settings by which the slices of an experiment are read.

    Attributes:
        experiment: The experiment.
        once: Its binary metrics that were observed repeatedly for some unit.
        error: Simultaneous error of all intervals.
        comparisons: Number of intervals.
        n_slices: Values of all dimensions.
    """

    experiment: Experiment
    once: Sequence[str]
    error: float
    comparisons: int
    n_slices: int

    def plans(self, tally: SliceTally) -> TrialPlans:
        """Return how the units of a slice were split, and the weights of those without any."""
        whole = Tally(variants=tally.variants, excluded=tally.excluded, offered=tally.offered)
        found = trial_plans(self.experiment, whole)
        if found.start is None:
            return found
        return replace(found, start=replace(found.start, plan=found.start.plan.of_slices()))


def dimension_reports(inputs: Inputs) -> tuple[DimensionReport, ...]:
    """Return the statistics of every dimension of an experiment, in their order."""
    config, experiment = inputs.config, inputs.experiment
    if not config.dimensions:
        return ()
    plans = trial_plans(experiment, inputs.tally)
    everyone = counted(inputs.tally.variants, plans.all.indices, plans.start)
    n_slices = sum(1 + len(dimension.values) for dimension in config.dimensions)
    n_others = len(experiment.definition.variants) - 1
    reading = _Reading(
        experiment,
        once_metrics(config, [*everyone.values()]),
        (1.0 - config.significance_threshold) * inputs.tried.share,
        max(n_slices * n_others * len(config.sliced_metrics), 1),
        n_slices,
    )
    slices = inputs.tally.slices
    return tuple(
        _dimension(reading, dimension, place, slices)
        for place, dimension in enumerate(config.dimensions)
    )


def _dimension(
    reading: _Reading, dimension: Dimension, place: int, slices: Mapping[Slice, SliceTally]
) -> DimensionReport:
    texts: list[tuple[int, str | None]] = [*enumerate(dimension.values, 1), (OTHER, None)]
    values = tuple(
        _value(reading, text, slices.get(Slice(place, index), _NO_SLICE)) for index, text in texts
    )
    return DimensionReport(
        dimension.name,
        units=sum(each.units for each in values),
        unknown_units=values[-1].units,
        mismatches=tuple(each.value for each in values if each.sample_ratio.is_mismatch),
        error=reading.error,
        comparisons=reading.comparisons,
        values=values,
    )


def _value(reading: _Reading, text: str | None, tally: SliceTally) -> ValueReport:
    config, plans = reading.experiment.definition.config, reading.plans(tally)
    everyone = counted(tally.variants, plans.all.indices, plans.start)
    variants = read_once(config, [*everyone.values()], reading.once)
    traffic = Traffic.of(plans.all.traffic, variants)
    metrics = {
        name: list(_metric(reading, _read(config, name, variants), traffic, plans.all.control))
        for name in sorted(config.sliced_metrics)
    }
    found = traffic.sample_ratio()
    p_value = min(float(found.p_value) * reading.n_slices, 1.0)
    units = [variant.units for variant in variants]
    return ValueReport(
        text,
        sum(units),
        tuple(
            SliceVariant(count, {name: column[index] for name, column in metrics.items()})
            for index, count in enumerate(units)
        ),
        SliceRatio(
            p_value, p_value < SRM_ALPHA, tuple(_or_none(ratio) for ratio in found.ratios.tolist())
        ),
    )


def _read(config: ExperimentConfig, name: str, variants: Sequence[VariantTally]) -> MetricInput:
    if config.spec(name).components is None:
        return SingleInput.read(config, name, variants, None)
    return RatioInput.read(config, name, variants)


def _metric(
    reading: _Reading, metric: MetricInput, traffic: Traffic, control: int
) -> Iterator[SliceMetric]:
    """Yield one metric of every variant."""
    others = [index for index in range(len(metric.tallies)) if index != control]
    contrasts = metric.contrasts(traffic)
    samples = metric.reported(contrasts)
    is_defined = [
        known and sample.units > 0.0
        for known, sample in zip(metric.is_defined, samples, strict=True)
    ]
    means = [
        sample.mean if known else None for known, sample in zip(is_defined, samples, strict=True)
    ]
    compared = contrasts.contrast(others, [control])
    errors = np.full(len(others), reading.error / (2.0 * reading.comparisons))
    found = both_sides(compared, errors, UNPLANNED)
    columns = zip(
        others,
        compared.difference.tolist(),
        found.intervals.lower.tolist(),
        found.intervals.upper.tolist(),
        found.two_sided.tolist(),
        strict=True,
    )
    against = {
        index: _contrast(
            samples[index],
            samples[control],
            contrasts.mean_beside(control, index),
            reading.comparisons,
            *each,
        )
        for index, *each in columns
        if is_defined[index] and is_defined[control] and math.isfinite(each[0])
    }
    for index, tally in enumerate(metric.tallies):
        yield SliceMetric(tally.units, means[index], against.get(index))


def _contrast(
    variant: Sample,
    control: Sample,
    mean: float,
    comparisons: int,
    difference: float,
    lower: float,
    upper: float,
    p_value: float,
) -> SliceContrast:
    lift = lift_lower = lift_upper = math.nan
    if mean > 0.0:
        ratio = Ratio(difference, mean, share_of_control(variant, control))
        lift, lift_lower, lift_upper = ratio.lift, ratio.lower(lower), ratio.upper(upper)
    return SliceContrast(
        difference,
        _or_none(lower),
        _or_none(upper),
        _or_none(lift),
        _or_none(lift_lower),
        _or_none(lift_upper),
        min(p_value * comparisons, 1.0),
        is_different=lower > 0.0 or upper < 0.0,
    )


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
