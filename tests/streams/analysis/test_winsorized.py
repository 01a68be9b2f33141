"""Metrics capped at a percentile: as if the cap had been declared, and read off all variants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.analysis.evaluate import evaluate
from streams.analysis.winsorized import EstimatedCap
from streams.experiments.config import ExperimentConfig
from streams.experiments.measurement_plan import plan_of
from streams.fold.measuring import Measurement
from streams.model.errors import InputError
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.validation import parse
from streams.model.variant_weights import pack_weights
from streams.planning.simulation import NUMBER, running_experiment
from streams.tallies.bins import WINSORIZED_PRECISION, bin_of
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge

CONFIG: dict[str, Any] = {"name": "spend", "type": "bayesian_ab", "primaryMetric": "spend"}
REVENUE = {"kind": "revenue", "winsorize": 0.9}
WEIGHTS = ((32_768, 32_768), (16_384, 49_152))


def tally_of(spec: dict[str, Any], values: list[np.ndarray], *, moving: bool = False) -> Tally:
    """Return the tally of units with values, of which half have other weights if they move."""
    experiment = running_experiment({**CONFIG, "metrics": {"spend": spec}}, len(values))
    plan = plan_of(experiment.definition)
    builders = [CellBuilder(NUMBER, source, 0, plan=plan) for source in Source]
    measurement = Measurement(plan, {})
    for variant, column in enumerate(values):
        for place, value in enumerate(column.tolist()):
            weights = WEIGHTS[place % 2 if moving else 0]
            chance = variant, weights[variant] * PROPENSITY_PER_WEIGHT, pack_weights(weights)
            builders[0].add_units(1, {chance: 1}, 1, 1)
            if value:
                micro = [round(value * MICRO)]
                bounded = measurement.bounded(["spend"], micro)
                key = (*chance, "spend")
                measurement.add_first_values(builders[1], 1, [key], bounded, [1], micro, [1])
    return merge([cell for each in builders if (cell := each.freeze()) is not None])


def amounts(n: int, spread: float = 1.5, buyers: float = 0.6, seed: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shape = (2, n)
    found = random.lognormal(0.0, spread, shape) * (random.random(shape) < buyers)
    return list(found)


@pytest.mark.parametrize("moving", [False, True])
def test_capped_tallies_are_those_of_a_declared_cap(moving):
    values = amounts(300)
    variants = tally_of(REVENUE, values, moving=moving).variants

    found = EstimatedCap.of([*variants.values()], "spend", 0.9)

    assert found is not None
    declared = tally_of({"kind": "revenue", "cap": found.value}, values, moving=moving).variants
    assert found.capped([*variants.values()], "spend") == tuple(
        variant.metrics["spend"] for variant in declared.values()
    )
    positive = np.concatenate(values)
    quantile = np.quantile(positive[positive > 0], 0.9, method="inverted_cdf")
    assert quantile < found.value <= 1.25 * quantile


def test_the_cap_by_hand():
    """Of the values 1 to 10, nine are at most 9, whose bin ends at 9.44 (2**23 * 9 / 8)."""
    tally = tally_of(REVENUE, [np.arange(1.0, 11.0), np.zeros(5)])

    found = EstimatedCap.of([*tally.variants.values()], "spend", 0.9)

    assert found is not None
    assert found.last == bin_of(9 * MICRO, WINSORIZED_PRECISION)
    assert found.value == pytest.approx(10.485_76)
    assert EstimatedCap.of([], "spend", 0.9) is None


def test_an_evaluation_reads_capped_values_and_says_so():
    values = amounts(2_000)
    values[1][7] = 1e6  # one customer

    def snapshot(spec: dict[str, Any]):
        experiment = running_experiment({**CONFIG, "metrics": {"spend": spec}}, 2)
        return evaluate(experiment, tally_of(spec, values), ())

    with_it, plain = snapshot(REVENUE), snapshot({"kind": "revenue"})
    cap = with_it.metrics["spend"].winsorized_at
    assert cap is not None
    same = snapshot({"kind": "revenue", "cap": cap})

    assert plain.metrics["spend"].winsorized_at is None
    assert plain.variants[1].mean > 400.0
    for left, right in zip(with_it.variants, same.variants, strict=True):
        assert left.mean == right.mean == pytest.approx(1.2, abs=0.3)
        assert (left.lower, left.upper) == (right.lower, right.upper)
    assert with_it.evidence.comparisons == same.evidence.comparisons
    assert with_it.evidence.comparisons[0].tails_seen
    assert with_it.variants[1].metrics["spend"].sum_micro > 10**12  # what came is as it came


def test_without_a_value_there_is_no_cap():
    experiment = running_experiment({**CONFIG, "metrics": {"spend": REVENUE}}, 2)

    assert evaluate(experiment, Tally(), ()).metrics["spend"].winsorized_at is None


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"metrics": {"spend": {"winsorize": 0.5}}}, "OUT_OF_RANGE", "metrics.spend.winsorize"),
        ({"metrics": {"spend": {"winsorize": 1.0}}}, "OUT_OF_RANGE", "metrics.spend.winsorize"),
        ({"metrics": {"spend": {"winsorize": 99}}}, "OUT_OF_RANGE", "metrics.spend.winsorize"),
        (
            {"metrics": {"spend": {"kind": "binary", "winsorize": 0.9}}},
            "WINSORIZE_NOT_USED",
            "metrics.spend.winsorize",
        ),
        (
            {
                "metrics": {
                    "spend": {"winsorize": 0.9},
                    "share": {"kind": "ratio", "numerator": "spend", "denominator": "visits"},
                }
            },
            "WINSORIZE_NOT_USED",
            "metrics.spend.winsorize",
        ),
        (
            {"metrics": {"spend": {"winsorize": 0.9}}, "periods": {"stratified": True}},
            "WINSORIZE_NOT_USED",
            "metrics.spend.winsorize",
        ),
        (
            {
                "type": "lin_ucb",
                "metrics": {"spend": {"winsorize": 0.9}},
                "parameters": {
                    "features": [{"name": "age", "type": "number", "minimum": 0, "maximum": 1}]
                },
            },
            "WINSORIZE_NOT_USED",
            "metrics.spend.winsorize",
        ),
    ],
)
def test_what_cannot_be_winsorized_is_refused(config, code, path):
    with pytest.raises(InputError) as refused:
        parse(ExperimentConfig, CONFIG | config)

    assert (refused.value.code, refused.value.path) == (code, path)
