"""Covariates under moving weights, from receipts to the comparison, against single units."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.analysis.contrasts import MetricContrasts
from streams.analysis.counted_units import CountedUnits
from streams.analysis.evaluate import evaluate
from streams.analysis.group import Group, GroupPlan
from streams.analysis.traffic import TrafficPlan
from streams.experiments.covariates import CovariateSpace
from streams.experiments.measurement_plan import plan_of
from streams.model.quantities import ALLOCATION_TOTAL, MICRO, PROPENSITY_ONE, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import overlap_weights, pack_weights
from streams.model.vectors import FEATURE_ONE
from streams.planning.simulation import NUMBER, running_experiment
from streams.stats.arrays import FloatArray
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge

CONFIG: dict[str, Any] = {
    "name": "spend",
    "type": "thompson_sampling",
    "primaryMetric": "spend",
    "metrics": {"spend": {"kind": "continuous"}},
    "covariates": [
        {"name": "before", "minimum": -8, "maximum": 8},
        {"name": "age", "minimum": 0, "maximum": 1},
    ],
}


class Units(NamedTuple):
    """Units in order of time: variant, weights beside each other one, covariates, value."""

    variants: NDArray[np.int64]
    beside: FloatArray
    covariates: FloatArray
    values: FloatArray


def counted(n: int, n_variants: int, sent_from: float, config: dict[str, Any] = CONFIG) -> Any:
    """Return the tally of units whose weights turn, and the units.

    Means of values and of the first covariate rise and fall with the weights. The first covariate
    is missing before a share of the units, and explains more and more from then on.
    """
    random = np.random.default_rng(8)
    definition = running_experiment(config, n_variants).definition
    space, plan = CovariateSpace(definition.config.covariates), plan_of(definition)
    cells = [CellBuilder(NUMBER, source, 0, plan=plan) for source in Source]
    found = []
    for offset in range(1, n + 1):
        at = offset / n
        phase = np.sin(12.0 * at)
        raw = 1.0 + 0.9 * np.sin(12.0 * at + 2.0 * np.arange(n_variants))
        weights = np.floor(raw / raw.sum() * ALLOCATION_TOTAL).astype(int)
        weights[0] += ALLOCATION_TOTAL - weights.sum()
        variant = int(random.choice(n_variants, p=weights / ALLOCATION_TOTAL))
        before, age = random.normal() + phase, random.random()
        value = round(20.0 + 3.0 * at * before + 2.0 * age + 2.0 * phase + random.normal(), 3)
        known = {"before": before if at > sent_from else None, "age": age}
        vector = space.encode({name: each for name, each in known.items() if name in names(config)})
        chance = variant, int(weights[variant]) * PROPENSITY_PER_WEIGHT, pack_weights(weights)
        cells[0].add_units(offset, {chance: 1}, 1, 1, {(chance, vector): 1})
        cells[1].add_value(offset, (*chance, "spend"), None, round(value * MICRO), 1, vector)
        if offset % 300 == 0:
            for each in cells:
                each.freeze()
        entries = [0.0] * 4
        for place, entry in vector[1:]:
            entries[place - 1] = entry / FEATURE_ONE
        beside = np.array(overlap_weights(*chance, n_variants)) / PROPENSITY_ONE
        found.append((variant, beside, entries, value))
    columns = Units(*(np.array(column) for column in zip(*found, strict=True)))
    return frozen(cells), columns


def frozen(cells: list[CellBuilder]) -> Tally:
    for each in cells:
        each.freeze()
    return merge([each.cell for each in cells if each.cell is not None])


def names(config: dict[str, Any]) -> list[str]:
    return [each["name"] for each in config.get("covariates", ())]


def contrasts_of(tally: Tally, n_variants: int, config: dict[str, Any] = CONFIG) -> MetricContrasts:
    definition = running_experiment(config, n_variants).definition
    settings = definition.config
    plan = GroupPlan(
        tuple(range(n_variants)),
        0,
        TrafficPlan(settings.parameters, definition.weights),
        frozenset({"spend"}),
        is_trial=True,
    )
    units = CountedUnits.read(tally, plan.indices, (), None)
    group = Group.read(settings, units, plan)
    return group.metrics["spend"].contrasts(group.compared["spend"].traffic)


def by_units(units: Units, a: int, b: int) -> tuple[float, float, float]:
    """Return difference, variance of the sum, and the share of it that is left, unit by unit."""
    own = [units.variants == each for each in (a, b)]
    weights = [units.beside[chosen, other] for chosen, other in zip(own, (b, a), strict=True)]
    design = [units.covariates[chosen] for chosen in own]
    values = [units.values[chosen] for chosen in own]
    v, c, x = (np.concatenate(each) for each in (weights, design, values))
    c, x = c - np.average(c, axis=0, weights=v), x - np.average(x, weights=v)
    theta = np.linalg.lstsq(c * v[:, None], x * v, rcond=1e-10)[0]
    adjusted = x - c @ theta
    sides = adjusted[: len(values[0])], adjusted[len(values[0]) :]
    means = [np.average(y, weights=w) for y, w in zip(sides, weights, strict=True)]
    least = max(y.var() for y in sides) * (v**2).sum()  # as much as the same weights let expect
    squares = max((v**2 * adjusted**2).sum(), least)
    harmonic = 2.0 / sum(1.0 / w.sum() for w in weights)
    return means[0] - means[1], squares / harmonic**2, (v**2 * adjusted**2).sum()


@pytest.mark.parametrize(("n_variants", "sent_from"), [(2, 0.0), (2, 0.5), (3, 0.3)])
def test_the_comparison_is_that_of_the_adjusted_values_of_the_units(
    n_variants: int, sent_from: float
) -> None:
    tally, units = counted(3_000, n_variants, sent_from)
    found, raw = (
        contrasts_of(tally, n_variants),
        contrasts_of(tally, n_variants, CONFIG | {"covariates": []}),
    )
    left = 0.0
    for a in range(n_variants):
        for b in range(n_variants):
            if a == b:
                continue
            contrast, plain = found.contrast([a], [b]), raw.contrast([a], [b])
            difference, variance, squares = by_units(units, a, b)
            assert contrast.difference[0] == pytest.approx(difference, abs=1e-9)
            assert contrast.standard_error[0] ** 2 == pytest.approx(variance, rel=1e-6)
            assert contrast.standard_error[0] < 0.95 * plain.standard_error[0]
            assert contrast.difference[0] == pytest.approx(-found.contrast([b], [a]).difference[0])
            left += squares
    assert found.variance_removed is not None
    assert 0.1 < found.variance_removed < 0.9


def test_what_is_explained_of_light_units_alone_is_not_taken_for_all() -> None:
    # All units before the middle, without covariates, have half of the traffic; of the others,
    # which covariates explain, first one variant has nearly all and then the other one.
    random, n = np.random.default_rng(4), 6_000
    definition = running_experiment(CONFIG, 2).definition
    space, plan = CovariateSpace(definition.config.covariates), plan_of(definition)
    cells = [CellBuilder(NUMBER, source, 0, plan=plan) for source in Source]
    for offset in range(1, n + 1):
        part = 3 * (offset - 1) // n
        first = (32_768, 64_000, 1_536)[part]
        variant = int(random.random() * ALLOCATION_TOTAL >= first)
        weight = (first, ALLOCATION_TOTAL - first)[variant]
        before = random.normal()
        vector = space.encode({"before": before if part else None, "age": 0.5})
        chance = variant, weight * PROPENSITY_PER_WEIGHT, b""
        value = round((before + 0.1 * random.normal()) * MICRO)
        cells[0].add_units(offset, {chance: 1}, 1, 1, {(chance, vector): 1})
        cells[1].add_value(offset, (*chance, "spend"), None, value, 1, vector)
    found = contrasts_of(frozen(cells), 2)
    # Without weights two thirds of the units are explained; of what is compared, little is.
    assert found.variance_removed == pytest.approx(0.154, abs=0.02)


@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": {"spend": {"kind": "continuous"}}},
        {"metrics": {"spend": {"kind": "revenue"}}},
    ],
)
def test_lifts_follow_the_adjusted_values_of_continuous_metrics_alone(
    changed: dict[str, Any],
) -> None:
    config = CONFIG | changed
    tally, _ = counted(1_200, 2, 0.0, config)
    found, plain = (
        evaluate(running_experiment(each, 2), tally, ())
        for each in (config, config | {"covariates": []})
    )
    removed = found.metrics["spend"].variance_removed
    is_continuous = changed["metrics"]["spend"]["kind"] == "continuous"
    assert removed is not None
    assert removed > 0.2
    ends = [[(each.lower, each.upper) for each in s.variants] for s in (found, plain)]
    assert (ends[0] != ends[1]) is is_continuous


def test_values_are_compared_as_they_are_where_sums_by_pair_are_not_kept() -> None:
    config = CONFIG | {"secondaryMetrics": [], "metrics": {"spend": {"kind": "continuous"}}}
    tally, _ = counted(400, 17, 0.0, config | {"covariates": CONFIG["covariates"][:1]})
    found = contrasts_of(tally, 17, config | {"covariates": CONFIG["covariates"][:1]})
    assert found.variance_removed is None
