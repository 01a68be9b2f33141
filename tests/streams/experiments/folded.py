"""Definitions with every feature, and tallies as the folds themselves make them.

What `space` writes down as sums is counted here, with bins, covariates, cohorts and slices: units
that are all alike are added to a cell as many times over, by what adds one unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.experiments.covariates import MAX_COVARIATES, CovariateSpace
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.measurement_plan import plan_of
from streams.fold.measuring import Measurement
from streams.model.errors import EventError
from streams.model.quantities import ALLOCATION_TOTAL, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import pack_weights
from streams.model.vectors import FEATURE_ONE, Vector
from streams.policies.base import Arm
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.features import NUMBER_LIMIT
from streams.policies.weights import allocate
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance
from streams.tallies.merging import merge
from streams.tallies.periods import tick_of
from streams.tallies.plan import Plan

BEGINNINGS_MS = (0, 1, 1_690_000_000_000, 1_700_000_000_000 - 60_000, 1_700_000_000_000)
DELAYS_MS = (0, 1, 59_000, 3_600_000, 10**11)


def with_features(pick: Any, config: dict[str, Any]) -> None:
    """Add to a configuration what stands beside its numbers."""
    config["unit"] = pick(["impression", "user", "user", "session"])
    if pick(range(4)) == 0:
        config["alternative"] = "better"
    if pick(range(4)) == 0:
        config["exposure"] = "event"
    if pick(range(3)) == 0:
        limit = NUMBER_LIMIT
        ranges = ((0.0, 1.0), (-limit, limit), (0.0, 5e-324), (limit * (1 - 1e-16), limit))
        config["covariates"] = [
            {"name": f"c{number}", "minimum": low, "maximum": high}
            for number in range(pick([1, 1, 2, MAX_COVARIATES]))
            for low, high in [pick(ranges)]
        ]
    if pick(range(3)) == 0:
        config["dimensions"] = [
            {"name": name, "values": ["a", "b"]}
            for name in pick([["device"], ["device", "location"]])
        ]
    for name, spec in config["metrics"].items():
        if pick(range(4)) == 0:
            spec["onlyMature"] = False
        if spec.get("kind") == "binary" and pick(range(3)) == 0:
            spec["counting"] = pick(["unique", "sum"])
        if name in config["guardrailMetrics"] and pick(range(3)) == 0:
            spec["mode"] = pick(["harm", "non_inferiority"])
        if spec.get("kind") == "quantile":
            spec["percentile"] = pick([0.5, 0.500001, 0.9, 0.999])


def folded(
    pick: Any,
    defined: ExperimentDefinition,
    indices: Sequence[int],
    counts: Sequence[int],
    values: Sequence[int | None],
) -> Tally:
    """Return what the folds make of some groups of units.

    Args:
        pick: Chooses one of several values.
        defined: The definition.
        indices: Variants that have units.
        counts: Numbers of units of a group.
        values: Single values in micro-units; None for no observation.
    """
    plan = plan_of(defined)
    names = sorted(plan.declared)
    measured = Measurement(plan, {name: number for number, name in enumerate(names)})
    cells = {
        source: CellBuilder(7, source, 0, plan=plan)
        for source in (Source.IMPRESSIONS, Source.OBSERVATIONS)
    }
    units_in = cells[Source.OBSERVATIONS if plan.by_exposure else Source.IMPRESSIONS]
    values_in = cells[Source.OBSERVATIONS]
    pool = [_groups(pick, names, counts, values) for _ in range(pick([1, 2, 3]))]
    for index in indices:
        for group in pick(pool):
            chance = _chance(pick, defined, index)
            vector = _vector(pick, defined)
            at_ms, dimensions = (
                pick(BEGINNINGS_MS),
                bytes(pick([0, 1, 2]) for _ in defined.config.dimensions),
            )
            count, given = group
            _add_units(units_in, plan, chance, count, at_ms, vector, dimensions)
            total: dict[str, int] = {}
            delay_ms = pick(DELAYS_MS)
            for name, observed in given.items():
                try:
                    for value in observed:
                        measured.check(name, value)
                except EventError:
                    continue
                unit = measured.unit_value(name, observed)
                if unit is None:
                    continue
                total[name] = unit.total
                values_in.add_event(1, at_ms + delay_ms)
                measured.put(
                    values_in, (*chance, name), unit, count, at_ms,
                    [delay_ms] * len(observed), vector, dimensions,
                )  # fmt: skip
            measured.put_products(values_in, chance, total, count, at_ms, None, dimensions)
    frozen = [cell for builder in cells.values() if (cell := builder.freeze()) is not None]
    return merge(frozen, pick([0, 1_700_000_000_000, 10**13]))


def _add_units(
    builder: CellBuilder,
    plan: Plan,
    chance: Chance,
    count: int,
    at_ms: int,
    vector: Vector | None,
    dimensions: bytes,
) -> None:
    contexts = {} if vector is None else {(chance, vector): count}
    builder.add_units(1, {chance: count}, at_ms, at_ms, contexts)
    for each in builder.slices(dimensions):
        each.add_units({chance: count})
    periods = plan.by_period
    if periods is not None and chance[0] < periods.n_variants:
        builder.sums.add_assigned({(chance[0], tick_of(at_ms)): count})
    for window_s in sorted(set(plan.windows.values())):
        cohort = builder.cohort(Cohort.of(window_s, at_ms))
        cohort.add_units({chance: count}, contexts if plan.has_covariates else {})


def _chance(pick: Any, defined: ExperimentDefinition, index: int) -> Chance:
    """Return a chance of a variant: of its fixed weight, or of any weights."""
    n = len(defined.variants)
    policy = defined.config.parameters
    if not policy.adaptive:
        arms = [Arm(0, 0.0, 0.0, is_binary=True, weight=weight) for weight in defined.weights]
        weights = list(allocate(policy, arms))
    else:
        own = pick([1, 327, 3_276, 32_768, 65_535 - n])
        rest, more = divmod(ALLOCATION_TOTAL - own, n - 1)
        weights = [rest] * n
        weights[index % n] = own
        weights[(index + 1) % n] += more
    weight = max(weights[index % n], 1)
    return index, weight * PROPENSITY_PER_WEIGHT, pack_weights(weights) if index < n else b""


def _vector(pick: Any, defined: ExperimentDefinition) -> Vector | None:
    config = defined.config
    if config.covariates:
        values = (None, 0.0, 0.5, 1.0, -NUMBER_LIMIT, NUMBER_LIMIT, 5e-324)
        known = {each.name: pick(values) for each in config.covariates}
        given = {name: value for name, value in known.items() if value is not None}
        return CovariateSpace(config.covariates).encode(given)
    if isinstance(config.parameters, ContextualPolicy):
        x = pick([None, -FEATURE_ONE, 0, 1, FEATURE_ONE])
        return None if x is None else ((0, FEATURE_ONE), (1, x)) if x else ((0, FEATURE_ONE),)
    return None


def _groups(
    pick: Any, names: Sequence[str], counts: Sequence[int], options: Sequence[int | None]
) -> Sequence[tuple[int, Mapping[str, Sequence[int]]]]:
    groups = []
    for _ in range(pick([0, 1, 2, 4])):
        values = {name: [pick(options) for _ in range(pick([0, 1, 1, 2]))] for name in names}
        observed = {
            name: [value for value in each if value is not None] for name, each in values.items()
        }
        groups.append((pick([count for count in counts if count]), observed))
    return groups
