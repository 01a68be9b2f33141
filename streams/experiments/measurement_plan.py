"""Measurement plan: the sums to keep of the units, from the declared metrics."""

from __future__ import annotations

from streams.experiments.config import ExperimentConfig
from streams.experiments.covariates import dimension
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.exposure import Exposure
from streams.experiments.metrics import MetricSpec
from streams.experiments.slices import sliced
from streams.model.ids import MAX_VARIANTS
from streams.model.quantities import MICRO, VALUE_LIMIT
from streams.stats.families.registry import FAMILIES
from streams.tallies.bins import QUANTILES, WINSORIZED, Bins
from streams.tallies.plan import AcceptedValues, PeriodPlan, Plan, pair_of


def plan_of(definition: ExperimentDefinition, n_started: int | None = None) -> Plan:
    """Return the measurement plan of a definition.

    No update changes it: it depends on no field of `ExperimentUpdate`.

    Args:
        definition: The definition.
        n_started: Variants at the start of the experiment (`Experiment.n_started`); None for all.
            Variants added later are not in its plan: their receipts carry all that is needed.
    """
    config = definition.config
    ratios = (spec.components for spec in config.metrics.values())
    components = [each for each in ratios if each is not None]
    denominators = {denominator for _, denominator in components}
    n_variants = len(definition.variants) if n_started is None else n_started
    caps: dict[str, int] = {}
    floors: dict[str, int] = {}
    accepted: dict[str, AcceptedValues] = {}
    bins: dict[str, Bins] = {}
    is_weighted = bool(config.covariates) and config.parameters.adaptive
    names = config.counted_metrics
    for name in names:
        spec = config.spec(name)
        if (cap := _cap(spec)) is not None:
            caps[name] = cap
        if (floor := _floor(spec, is_denominator=name in denominators)) is not None:
            floors[name] = floor
        if (values := accepted_of(config, name)) is not None:
            accepted[name] = values
        if spec.winsorize is not None:
            bins[name] = WINSORIZED
        elif spec.percentile is not None:
            bins[name] = QUANTILES
    windows = config.conversion_windows
    awaited = {name: window_s for name, window_s in windows.items() if config.maturity_s(name)}
    return Plan(
        caps,
        tuple(sorted({pair_of(*each) for each in components})),
        None if config.periods is None else PeriodPlan(config.primary_metric, MAX_VARIANTS),
        floors,
        accepted,
        frozenset(names),
        n_variants,
        awaited,
        bool(config.covariates),
        bins,
        config.exposure is Exposure.EVENT,
        {name: window_s for name, window_s in windows.items() if name not in awaited},
        config.conversion_delays,
        sliced(config, definition.control_index) if config.dimensions else None,
        weighted_covariates=dimension(len(config.covariates)) if is_weighted else 0,
    )


def accepted_of(config: ExperimentConfig, metric: str) -> AcceptedValues | None:
    """Return the accepted single values of a metric; None if all are."""
    spec = config.spec(metric)
    family = spec.family
    if family is not None and family.largest is not None:
        return AcceptedValues(0, family.largest, is_whole=family.is_whole)
    is_whole = family is not None and family.is_whole
    if spec.min_value is None and spec.max_value is None and not is_whole:
        return None
    return AcceptedValues(
        round((-VALUE_LIMIT if spec.min_value is None else spec.min_value) * MICRO),
        round((VALUE_LIMIT if spec.max_value is None else spec.max_value) * MICRO),
        is_whole,
    )


def bounds_of(config: ExperimentConfig, metric: str) -> tuple[float, float] | None:
    """Return the bounds of the values of all units, in units of the metric; None without both.

    A unit without an observation has the value 0, which is between them.
    """
    spec = config.spec(metric)
    floor, cap = floor_of(config, metric), _cap(spec)
    if floor is None or cap is None:
        return None
    return min(floor, 0) / MICRO, max(cap, 0) / MICRO


def floor_of(config: ExperimentConfig, metric: str) -> int | None:
    """Return the smallest value of the units of a metric, in micro-units; None without one."""
    denominators = (each.denominator for each in config.metrics.values())
    return _floor(config.spec(metric), is_denominator=metric in denominators)


def _cap(spec: MetricSpec) -> int | None:
    if spec.model_kind is not None and (largest := FAMILIES[spec.model_kind].largest) is not None:
        return largest  # of a binary metric: a second click of a unit does not convert it again
    return None if spec.cap is None else round(spec.cap * MICRO)


def _floor(spec: MetricSpec, *, is_denominator: bool) -> int | None:
    if spec.floor is not None:
        return round(spec.floor * MICRO)
    is_default = is_denominator if spec.family is None else spec.family.is_not_negative
    return 0 if is_default else None
