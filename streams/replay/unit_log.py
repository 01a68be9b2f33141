"""The units of one experiment, read from the log with what was observed of each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.partition import PartitionFold
from streams.fold.recorders import Assignments, CountedValues, Exposures
from streams.fold.records import Folding
from streams.kafka.records import LogSource
from streams.model.errors import InputError, quoted
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring
from streams.model.variant_weights import added_variants, excluded_variants
from streams.model.vectors import unpack
from streams.replay.captures import Advance, capture
from streams.replay.off_policy.logged import IntArray, UnitLog
from streams.replay.partitions import FoldInputs, Part, side_by_side
from streams.replay.verify import ReplayObserver
from streams.tallies.cell import Source
from streams.tallies.plan import ALWAYS, Plan, plain

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as the folds have it


def unit_log(
    source: LogSource,
    inputs: FoldInputs,
    experiment: Experiment,
    metric: str,
    *,
    processes: int = 1,
    watcher: ReplayObserver | None = None,
) -> UnitLog:
    """Return the units of an experiment, each counted once, with their observations of a metric.

    What counts is what counts in the tallies, and it belongs to the assignment that its receipt
    names. Impressions and observations come by different topics; of an observation whose
    impression is not there nothing is known of its fellow units, so it is left out and counted as
    unmatched. Variants that the experiment does not have are left out. Of an experiment that counts
    by exposure they are the units exposed, assigned when they were first exposed.

    Args:
        source: The log.
        inputs: What is folded with, and up to when.
        experiment: The experiment.
        metric: The metric.
        processes: How many partitions are folded at a time.
        watcher: Receives the progress.

    Raises:
        InputError: no unit was assigned by then (`NO_UNITS`), no unit has a value of the metric and
            the experiment does not declare it (`UNKNOWN_METRIC`), or it is a ratio
            (`RATIO_METRIC`) or a quantile (`QUANTILE_METRIC`).
        LogError: the log no longer begins at its beginning.
        DependencyError: Kafka or the schema registry does not answer.
    """
    if experiment.definition.config.spec(metric).components:
        message = f"{metric} is a ratio, which no unit has a value of; ask about its numerator"
        raise InputError("RATIO_METRIC", message, "metric")
    if experiment.definition.config.spec(metric).percentile is not None:
        message = f"{metric} is a quantile, and estimates from the log are of means"
        raise InputError("QUANTILE_METRIC", message, "metric")
    watcher = watcher or ReplayObserver()
    parts = [
        Part(topic, partition, span.end)
        for topic in Source
        for partition, span in source.spans(topic.value).items()
    ]
    watcher.begin(sum(part.end for part in parts))
    config = experiment.definition.config
    plan = plan_of(experiment.definition, experiment.n_started)
    work = partial(_noted, experiment.number, metric, plan)
    found = side_by_side(work, source, inputs, parts, processes, watcher.advance)
    by_partition = [noted for _, noted in sorted(found.items())]
    counted = [noted.counted() for noted in by_partition if isinstance(noted, Exposures)]
    log = joined(
        metric,
        len(experiment.definition.variants),
        [noted for noted in by_partition if isinstance(noted, Assignments)]
        + [assigned for assigned, _ in counted],
        [noted for noted in by_partition if isinstance(noted, CountedValues)]
        + [values for _, values in counted],
        experiment.n_started,
    )
    if not log.n_units:
        raise InputError("NO_UNITS", f"{experiment.id} has assigned no unit by then", "until")
    log = replace(log, cap=plan.caps.get(metric), floor=plan.floors.get(metric))
    spec = config.spec(metric)
    components = {part for each in config.metrics.values() for part in each.components or ()}
    is_plain = spec.kind is None and spec.cap is None and spec.floor is None
    is_plain &= metric not in components  # those are summed, as the products with them are
    if is_plain and np.isin(log.observed_values, (0, MICRO)).all():
        log = replace(log, cap=MICRO)  # as `streams.analysis.binary_once` reads it
    is_declared = metric in {config.primary_metric, *config.secondary_metrics}
    if not (is_declared or log.unmatched or len(log.observed_units)):
        raise InputError("UNKNOWN_METRIC", f"no unit has a value of {quoted(metric)}", "metric")
    return log


def joined(
    metric: str,
    n_arms: int,
    assigned: Iterable[Assignments],
    observed: Iterable[CountedValues],
    n_started: int | None = None,
) -> UnitLog:
    """Return what was noted of all partitions, every observation at its unit.

    Args:
        metric: The metric.
        n_arms: Number of variants; others are left out.
        assigned: Units, by partition.
        observed: Observations of the metric, by partition.
        n_started: Variants at the start of the experiment; None for all.
    """
    assigned, observed = list(assigned), list(observed)
    variants = _column(each.variants for each in assigned)
    times = _column(each.assigned_at_ms for each in assigned)
    keys = _keys(_column(each.units for each in assigned), variants)
    voided = _keys(
        _column(each.voided_units for each in observed),
        _column(each.voided_variants for each in observed),
    )
    order = np.lexsort((keys, times))  # of the same millisecond in an order that no partition makes
    order = order[(variants[order] < n_arms) & ~np.isin(keys[order], voided)]
    by_key = order[np.argsort(keys[order], kind="stable")]
    places = np.empty(len(keys), np.int64)
    places[order] = np.arange(len(order))

    wanted = _column(each.variants for each in observed)
    wanted_keys = _keys(_column(each.units for each in observed), wanted)
    found = np.searchsorted(keys[by_key], wanted_keys)
    is_there = found < len(by_key)
    is_there[is_there] = keys[by_key[found[is_there]]] == wanted_keys[is_there]
    contexts, known = _places([(each.contexts, each.features) for each in assigned])
    weights, packed = _places([(each.places, each.weights) for each in assigned])
    propensities = _column(each.propensities for each in assigned)[order]
    sets, eligible = _sets(
        variants[order], propensities, weights[order], packed, (n_started or n_arms, n_arms)
    )
    return UnitLog(
        metric=metric,
        n_arms=n_arms,
        variants=variants[order],
        propensities=propensities,
        assigned_at_ms=times[order],
        observed_units=places[by_key[found[is_there]]],
        observed_values=_column(each.values for each in observed)[is_there],
        observed_at_ms=_column(each.observed_at_ms for each in observed)[is_there],
        unmatched=int(((wanted < n_arms) & ~is_there & ~np.isin(wanted_keys, voided)).sum()),
        contexts=contexts[order],
        vectors=tuple(map(unpack, known)),
        sets=sets,
        eligible=eligible,
    )


def _places(
    parts: Iterable[tuple[array[int], Iterable[bytes]]],
) -> tuple[IntArray, tuple[bytes, ...]]:
    """Return what units of several partitions have as places, and what there is.

    Args:
        parts: By partition, the place of each unit, and what stands there.
    """
    known: dict[bytes, int] = {b"": 0}
    columns = []
    for places, values in parts:
        found = np.array([known.setdefault(one, len(known)) for one in values], np.int64)
        columns.append(found[_column([places])])
    return np.concatenate(columns) if columns else np.empty(0, np.int64), tuple(known)


def _sets(
    variants: IntArray,
    propensities: IntArray,
    weights: IntArray,
    packed: Sequence[bytes],
    n_variants: tuple[int, int],
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Return the variants that each unit could have, as places, and the different sets.

    Args:
        variants, propensities: Of each unit.
        weights: Weights that its receipt says, as a place in `packed`.
        packed: Different weights.
        n_variants: Variants of the experiment at its start, and by now.
    """
    n_started, n_arms = n_variants
    added = set(range(n_started, n_arms))
    sets, known = np.zeros(len(variants), np.int64), dict[tuple[int, ...], int]({(): 0})
    is_known = (weights > 0) | (propensities == PROPENSITY_ONE)
    some = np.flatnonzero(is_known | bool(added))
    rows = np.stack([variants[some], propensities[some], weights[some]], axis=1)
    different, places = np.unique(rows, axis=0, return_inverse=True)
    found = []
    for variant, propensity, place in different.tolist():
        chance = variant, propensity, packed[place], n_started
        excluded = (*excluded_variants(*chance), *sorted(added.difference(added_variants(*chance))))
        found.append(known.setdefault(excluded, len(known)))
    if len(known) == 1:
        return np.empty(0, np.int64), np.ones((1, n_arms), np.bool_)
    sets[some] = np.array(found, np.int64)[places.ravel()]
    eligible = np.ones((len(known), n_arms), np.bool_)
    for place, excluded in enumerate(known):
        eligible[place, list(excluded)] = False
    return sets, eligible


def _noted(
    experiment: int,
    metric: str,
    plan: Plan,
    source: LogSource,
    inputs: FoldInputs,
    part: Part,
    advance: Advance,
) -> Assignments | CountedValues | Exposures:
    if plan.by_exposure and part.source is Source.IMPRESSIONS:
        advance(part.end, 0)
        return Assignments()
    with inputs.reading(source) as reading:
        keyring = Keyring.parse(inputs.receipt_keys)
        folding: ImpressionFolding | ObservationFolding
        found: Assignments | CountedValues | Exposures
        if part.source is Source.IMPRESSIONS:
            found = Assignments()
            folding = ImpressionFolding(
                reading.codec, keyring, inputs.limit, plain, only=experiment, listener=found.record
            )
        else:
            found = CountedValues(metric)
            if plan.by_exposure:
                found = Exposures(metric, plan.spans.get(metric, ALWAYS))
            folding = ObservationFolding(
                reading.codec,
                keyring,
                inputs.limit,
                lambda _: plan,
                inputs.partitions,
                only=experiment,
                listener=found.record,
            )
        records = reading.read(part.source.value, part.partition, 0, part.end)
        capture(cast(Folding[PartitionFold], folding), part.partition, records, {}, advance)
    return found


def _column(columns: Iterable[array[int]]) -> IntArray:
    """Return columns one behind the other; unsigned ones keep their bits."""
    parts = [np.frombuffer(column, np.int64) for column in columns if column]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _keys(units: IntArray, variants: IntArray) -> NDArray[np.uint64]:
    """Return what stands for assignments, as where the folds remember them.

    Among ten million, any two collide with a probability of 2.7e-6 (n**2 / 2**65).
    """
    return units.view(np.uint64) ^ (variants.astype(np.uint64) + np.uint64(1)) * _SPREAD
