"""The whole space of what can be asked of an evaluation: definitions, and tallies of their units.

Everything is chosen by `pick`, so that hypothesis can shrink what it finds and a long search can
run on plain random numbers. The values of a parameter are read from the bounds that its model
declares; a parameter that is added is in the space without a line here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import annotated_types
from pydantic import BaseModel

from streams.experiments.config import ExperimentConfig
from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.metrics import MetricSpec, PriorSpec
from streams.experiments.plan import PlanSpec
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import CellPlace
from streams.experiments.time_weights import PeriodSpec
from streams.fold.deduplication import UNIT_TOTAL_LIMIT
from streams.model.errors import InputError
from streams.model.quantities import (
    ALLOCATION_TOTAL,
    MICRO,
    PROPENSITY_PER_WEIGHT,
    VALUE_LIMIT,
    inverse_propensity,
)
from streams.model.variant_weights import overlap_weights, pack_weights
from streams.model.vectors import FEATURE_ONE, Vector
from streams.policies.base import Arm
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.features import Feature
from streams.policies.registry import POLICIES
from streams.policies.weights import allocate
from streams.stats.direction import Direction
from streams.stats.families.base import PRIOR_OF_VALUES
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.tallies.cell import MetricTally, ProductTally, Tally, VariantTally, add_variants
from streams.tallies.linear import LinearSums
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.periods import FINEST_SHIFT, Period, PeriodTally
from streams.tallies.plan import Plan
from tests.streams.experiments.folded import folded, with_features

T = TypeVar("T")
Pick = Callable[[Sequence[Any]], Any]
"""Chooses one of several values."""

PRIMARY, OTHERS = "m0", ("m1", "m2", "m3")
METRICS = (PRIMARY, *OTHERS)
UNDECLARED = "stray"
N_VARIANTS = (2, 2, 2, 3, 3, 4, 17, 256)
UNITS = (0, 1, 1, 2, 3, 29, 30, 31, 100, 1_000, 50_000, 10**6, 10**12)
VALUES = (
    None,
    None,
    0,
    1,
    -1,
    MICRO,
    MICRO,
    MICRO,
    -MICRO,
    2 * MICRO,
    MICRO // 2,
    123_456_789,
    999_999_990_000,
    -999_999_990_000,
    VALUE_LIMIT * MICRO,
    -VALUE_LIMIT * MICRO,
    UNIT_TOTAL_LIMIT,
    -UNIT_TOTAL_LIMIT,
)
WEIGHTS = (1, 2, 327, 655, 3_276, 32_768, 32_769, 65_535, 65_536)


def near_bounds(model: type[BaseModel], name: str) -> list[Any]:
    """Return values of a number at its bounds, one step beside them, and some between."""
    field = model.model_fields[name]
    is_whole = "int" in str(field.annotation) and "float" not in str(field.annotation)
    lowest, highest = -math.inf, math.inf
    for rule in _rules(field.metadata):
        if isinstance(rule, annotated_types.Ge):
            lowest = float(rule.ge)  # type: ignore[arg-type]
        elif isinstance(rule, annotated_types.Gt):
            lowest = rule.gt + 1 if is_whole else math.nextafter(rule.gt, math.inf)  # type: ignore[operator,arg-type]
        elif isinstance(rule, annotated_types.Le):
            highest = float(rule.le)  # type: ignore[arg-type]
        elif isinstance(rule, annotated_types.Lt):
            highest = rule.lt - 1 if is_whole else math.nextafter(rule.lt, -math.inf)  # type: ignore[operator,arg-type]
    ends = [end for end in (lowest, highest) if math.isfinite(end)]
    found: set[Any]
    if is_whole:
        found = {int(end) + step for end in ends for step in (-1, 0, 1)}
        found |= {1, 2, 100, 1_000}
    else:
        found = set(ends)
        found |= {math.nextafter(end, to) for end in ends for to in (-math.inf, math.inf)}
        found |= {0.0, 0.1, 0.5, 1.0, 3.0, 1e-6, 1e-3, 1e3, 1e6}
        if lowest > 0.0 and math.isfinite(highest):
            found.add(math.sqrt(lowest) * math.sqrt(highest))
        found |= {end * factor for end in ends for factor in (0.5, 2.0)}
    return sorted(value for value in found if lowest <= value <= highest)


def _rules(metadata: Sequence[Any]) -> Iterator[Any]:
    for rule in metadata:
        yield from rule if isinstance(rule, annotated_types.GroupedMetadata) else (rule,)


def alias(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].alias or name


def numbers_of(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model that are numbers."""
    return [
        name
        for name, field in model.model_fields.items()
        if any(kind in str(field.annotation) for kind in ("float", "int"))
        and "str" not in str(field.annotation)
        and "tuple" not in str(field.annotation)
        and "bool" not in str(field.annotation)
    ]


def some_numbers(pick: Pick, model: type[BaseModel], odds: int = 3) -> dict[str, Any]:
    """Return some of the numbers of a model."""
    return {
        alias(model, name): pick(near_bounds(model, name))
        for name in numbers_of(model)
        if pick(range(odds)) == 0
    }


def parameters(pick: Pick, kind: str) -> dict[str, Any]:
    policy = POLICIES[kind]
    found = some_numbers(pick, policy, 2)
    if kind == "ucb":
        found["variant"] = pick(["ucb1", "ucb_tuned", "kl_ucb"])
        if found["variant"] == "ucb_tuned":
            found.pop("c", None)
    if "decay" in policy.model_fields:
        found["decay"] = pick([False, True])
    if issubclass(policy, ContextualPolicy):
        found["features"] = pick(
            [
                [{"name": "x", "type": "number", "minimum": 0.0, "maximum": 1.0}],
                [{"name": "x", "type": "hashed", "buckets": pick([1, 3, 63])}],
                [{"name": "x", "type": "category", "values": ["a", "b"]}],
            ]
        )
        assert Feature.model_fields.keys()
    return found


def prior(pick: Pick, kind: str) -> dict[str, Any] | None:
    family = FAMILIES[MetricKind(kind)]
    names = [name for name in PriorSpec.model_fields if name in family.prior_fields]
    found = {
        alias(PriorSpec, name): pick(near_bounds(PriorSpec, name))
        for name in names
        if pick(range(2)) == 0
    }
    if found.keys() & PRIOR_OF_VALUES:
        for name in ("mean", "variance"):
            found.setdefault(name, pick(near_bounds(PriorSpec, name)))
    if family.needs_positive_prior_mean and "mean" in found:
        found["mean"] = abs(found["mean"]) or 1.0
    return found or None


def metric_spec(pick: Pick, *, is_guardrail: bool, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = pick([None, *(each.value for each in MetricKind)])
    if kind is not None:
        found["kind"] = kind
    if kind == "ratio":
        numerator, denominator = pick(
            [
                pair
                for pair in (("m1", "m2"), ("m2", "m1"), ("m3", "m2"), ("n", "d"))
                if name not in pair
            ]
        )
        found |= {"numerator": numerator, "denominator": denominator}
    if kind == "quantile":
        found["percentile"] = pick([0.5, 0.95, 0.999])
    found["direction"] = pick([each.value for each in Direction])
    for number in numbers_of(MetricSpec):
        if number in ("tolerated_harm", "margin") and not is_guardrail:
            continue
        if pick(range(3)) == 0:
            value = pick(near_bounds(MetricSpec, number))
            if number == "cap" and kind == "count":
                value = max(1.0, float(round(value)))
            if number in ("cap", "winsorize") and kind in ("ratio", "binary", "quantile"):
                continue
            if number == "percentile":
                continue
            found[alias(MetricSpec, number)] = value
    if kind is not None and pick(range(2)) == 0:
        belief = prior(pick, kind)
        if belief is not None:
            found["prior"] = belief
    return found


def definition(pick: Pick, *, is_whole: bool = False) -> ExperimentDefinition | None:
    """Return a definition, or one with features that are no numbers; None if neither exists."""
    kind = pick(sorted(POLICIES))
    n_variants = pick(N_VARIANTS)
    config: dict[str, Any] = {"name": "x", "type": kind, "primaryMetric": PRIMARY}
    config["parameters"] = parameters(pick, kind)
    config |= some_numbers(pick, ExperimentConfig, 5)
    config["autoPromoteWinner"] = pick([False, True])
    guardrails = pick([(), ("m1",), ("m1", "m2")])
    secondary = tuple(name for name in pick([(), OTHERS]) if name not in guardrails)
    config |= {"guardrailMetrics": list(guardrails), "secondaryMetrics": list(secondary)}
    named = (PRIMARY, *guardrails, *secondary)
    metrics = {
        name: metric_spec(pick, is_guardrail=name in guardrails, name=name)
        for name in named
        if pick(range(3)) > 0
    }
    config["metrics"] = metrics
    if pick(range(4)) == 0:
        periods = {
            "delayed": pick([False, True]),
            "stratified": pick([False, True]),
        } | some_numbers(pick, PeriodSpec, 2)
        config["periods"] = periods
    if pick(range(3)) == 0:
        config["plan"] = some_numbers(pick, PlanSpec, 2) | {
            "baseline": pick([0.1, 0.5, 3.0]),
            "lift": pick([0.01, 0.5]),
            "units": pick([1, 1_000, 10**12]),
        }
    variants: list[dict[str, Any]] = [
        {"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)
    ]
    if not POLICIES[kind].adaptive and pick(range(2)) == 0:
        tiny = pick([5e-324, 1e-300, 1e-9, 1e-3 / n_variants])
        shares = [tiny] * n_variants
        shares[pick([0, n_variants - 1])] = 1.0 - tiny * (n_variants - 1)
        for variant, share in zip(variants, shares, strict=True):
            variant["weight"] = share
    if is_whole:
        with_features(pick, config)
    try:
        return parse_definition(config, variants)
    except InputError:
        return None


@dataclass(frozen=True)
class Group:
    """Units of one variant that are all alike.

    Attributes:
        count: How many.
        weight: Weight they were assigned with, out of 65,536; the others share the rest evenly.
        values: Their values by metric, in micro-units; None for no observation.
        vector: Their features.
        tick: Period of their assignment.
        has_impression: Whether their impressions are counted yet.
    """

    count: int
    weight: int
    values: Mapping[str, int | None]
    vector: Vector
    tick: int
    has_impression: bool

    def tally(
        self, index: int, plan: Plan, by_period: str | None, *, features: bool
    ) -> VariantTally:
        """Return what the folds make of them."""
        n, propensity = self.count, self.weight * PROPENSITY_PER_WEIGHT
        rest = (ALLOCATION_TOTAL - self.weight) // max(plan.n_variants - 1, 1)
        packed = pack_weights(
            [self.weight if each == index else rest for each in range(plan.n_variants)]
        )
        inverse = inverse_propensity(propensity)
        overlaps = overlap_weights(index, propensity, packed, plan.n_variants)
        pairs = plan.pairs
        values = {name: value for name, value in self.values.items() if value is not None}
        metrics = {}
        sums = LinearSums()
        if features and n and self.has_impression:
            sums.add_unit(self.vector, n)
        for name, x in sorted(values.items()):
            if not n:
                continue
            moment = LinearSums()
            if features:
                moment.add_value(self.vector, x * n)
            counted = overlaps if name in plan.declared else ()
            metrics[name] = MetricTally(
                n,
                n,
                n * x,
                n * x * x,
                n * x * inverse,
                n * (x * inverse) ** 2,
                pack_pairs(n * x * v for v in counted),
                pack_pairs(n * x * v**2 for v in counted),
                pack_pairs(n * (x * v) ** 2 for v in counted),
                n * x * inverse**2,
                moment=moment.freeze().moment,
            )
        products = {
            pair: ProductTally(
                n * values[pair[0]] * values[pair[1]],
                n * values[pair[0]] * values[pair[1]] * inverse**2,
                pack_pairs(n * values[pair[0]] * values[pair[1]] * v**2 for v in overlaps),
            )
            for pair in pairs
            if n and pair[0] in values and pair[1] in values
        }
        seen = n if self.has_impression else 0
        periods = {}
        if by_period is not None and n:
            x_or_none = values.get(by_period)
            x = x_or_none or 0
            with_value = 0 if x_or_none is None else n
            periods[Period(FINEST_SHIFT, self.tick)] = PeriodTally(
                seen,
                with_value,
                with_value * x,
                with_value * x * x,
                arrivals=(0, 0, with_value) if with_value else (),
            )
        return VariantTally(
            seen,
            seen * inverse,
            seen * inverse**2,
            pack_pairs(seen * v for v in overlaps),
            pack_pairs(seen * v**2 for v in overlaps),
            sums.freeze().gram,
            (),
            (),
            metrics,
            products,
            periods,
        )


def tally(pick: Pick, defined: ExperimentDefinition, indices: Sequence[int]) -> Tally:
    """Return what may have been counted of an experiment."""
    plan = plan_of(defined)
    features = isinstance(defined.config.parameters, ContextualPolicy)
    by_period = None if plan.by_period is None else plan.by_period.metric
    names = [*METRICS, *(part for pair in plan.pairs for part in pair), pick([None, UNDECLARED])]
    names = sorted({name for name in names if name is not None})
    policy = defined.config.parameters
    fixed: Sequence[int] | None = None
    if not policy.adaptive:
        arms = [Arm(0, 0.0, 0.0, is_binary=True, weight=weight) for weight in defined.weights]
        fixed = allocate(policy, arms)
        fixed = fixed if pick([True, True, False]) else None
    pool = [_groups(pick, names, features) for _ in range(pick([1, 2, 3]))]
    variants: dict[int, VariantTally] = {}
    for index in indices:
        groups = pick(pool)
        total: VariantTally | None = None
        for group in groups:
            own = group if fixed is None else replace(group, weight=fixed[index % len(fixed)])
            each = own.tally(index, plan, by_period, features=features)
            total = each if total is None else total + each
        if total is not None:
            variants[index] = total
    if not variants:
        return Tally()
    first, last = pick(
        [
            (0, 0),
            (1, 2),
            (1_700_000_000_000, 1_700_000_000_000),
            (0, 1_700_000_000_000),
            (1_690_000_000_000, 1_700_000_000_000),
        ]
    )
    return Tally(first, last, pick([0, 5]), add_variants(variants))


def _groups(pick: Pick, names: Sequence[str], features: bool) -> list[Group]:
    profile = pick(["binary", "whole", "any"])
    options: Sequence[int | None] = {
        "binary": (None, 0, MICRO),
        "whole": (None, 0, MICRO, 2 * MICRO, 999_999 * MICRO),
        "any": VALUES,
    }[profile]
    groups = []
    for _ in range(pick([0, 1, 2, 3])):
        x = pick([-FEATURE_ONE, 0, 1, FEATURE_ONE])
        vector: Vector = ((0, FEATURE_ONE),)
        if features and x:
            vector = ((0, FEATURE_ONE), (1, x))
        groups.append(
            Group(
                count=pick(UNITS),
                weight=pick(WEIGHTS),
                values={name: pick(options) for name in names},
                vector=vector,
                tick=pick([0, 1, 6_480_000, 6_484_000, 6_484_100]),
                has_impression=pick([True, True, True, False]),
            )
        )
    return groups


def asked(
    pick: Pick, *, is_whole: bool = False
) -> tuple[Experiment, Tally, tuple[CellPlace, ...]] | None:
    """Return arguments of `evaluate`; None if these choices make no definition.

    Args:
        pick: Chooses one of several values.
        is_whole: Whether features that are no numbers are chosen, and units are folded.
    """
    defined = definition(pick, is_whole=is_whole)
    if defined is None:
        return None
    n = len(defined.variants)
    status = pick([Status.RUNNING, Status.RUNNING, Status.RUNNING, *Status])
    experiment = Experiment(
        7,
        defined,
        status,
        version=4,
        created_at_ms=1,
        started_at_ms=None if status is Status.DRAFT else 2,
        started_version=0 if status is Status.DRAFT else 2,
    )
    indices = [*range(n)]
    if status in {Status.CONCLUDED, Status.ARCHIVED}:
        winner = pick([None, n - 1])
        promotion = None
        if winner is not None and pick([False, True]):
            promotion = Promotion(
                winner, pick([1, 3_277, 32_768]), False, pick([False, True]), 3, 3
            )
            indices += [n + winner, n]
        experiment = replace(experiment, concluded_at_ms=3, winner=winner, promotion=promotion)
    cells = pick([(), (CellPlace("impressions", 0, 7), CellPlace("observations", 3, 2**40))])
    counted = (
        folded(pick, defined, indices, UNITS, VALUES) if is_whole else tally(pick, defined, indices)
    )
    return experiment, counted, cells
