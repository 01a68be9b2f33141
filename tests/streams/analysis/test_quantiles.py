"""Quantile metrics: estimates, intervals and comparisons, from bins to the snapshot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.analysis.evaluate import evaluate
from streams.analysis.quantiles import BinnedUnits, Estimate
from streams.experiments.config import ExperimentConfig
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.measuring import Measurement
from streams.model.errors import InputError
from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.validation import parse
from streams.model.variant_weights import pack_weights
from streams.planning.simulation import NUMBER, running_experiment
from streams.stats.weighting import Weighting
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, Tally
from streams.tallies.merging import merge

P95 = {"kind": "quantile", "percentile": 0.95, "direction": "decrease"}
CONFIG: dict[str, Any] = {
    "name": "latency",
    "type": "bayesian_ab",
    "primaryMetric": "latency",
    "metrics": {"latency": P95},
    "minSampleSize": 100,
}


def tally_of(config: dict[str, Any], values: list[np.ndarray], weights: tuple[int, ...]) -> Tally:
    """Return the tally of units of which each has a value."""
    experiment = running_experiment(config, len(values))
    plan = plan_of(experiment.definition)
    builders = [CellBuilder(NUMBER, source, 0, plan=plan) for source in Source]
    measurement = Measurement(plan, {})
    for variant, column in enumerate(values):
        chance = variant, weights[variant] * PROPENSITY_PER_WEIGHT, pack_weights(weights)
        builders[0].add_units(1, {chance: len(column)}, 1, 1)
        micro = np.round(column * MICRO).astype(int).tolist()
        keys, times = [(*chance, "latency")] * len(micro), [1] * len(micro)
        if not micro:
            continue
        measurement.add_first_values(builders[1], 1, keys, micro, times, micro, times)
    return merge([cell for each in builders if (cell := each.freeze()) is not None])


def snapshot_of(values: list[np.ndarray], weights: tuple[int, ...] = (), **changed: Any):
    config = CONFIG | changed
    even = tuple([65_536 // len(values)] * len(values))
    tally = tally_of(config, values, weights or even)
    return evaluate(running_experiment(config, len(values)), tally, ())


def latencies(n: int, factor: float, seed: int) -> np.ndarray:
    return factor * 120.0 * np.random.default_rng(seed).lognormal(0.0, 0.5, n)


def test_an_estimate_by_hand():
    """A hundred values of 1 to 100: a share of 0.95 is up to 95, in the bin of 94.4 to 95.4."""
    tally = tally_of(CONFIG, [np.arange(1.0, 101.0), np.ones(1)], (32_768, 32_768))
    binned = BinnedUnits.of([tally.variants[0].bins["latency"]])
    sides = binned.sides(Weighting.PLAIN, np.ones(1))

    found = Estimate.of(binned.ends, sides.below[0], sides.below_squared[0], 0.95)

    assert found.value == pytest.approx(95.0, rel=0.016)
    assert found.error == pytest.approx(2.18, abs=0.4)  # sqrt(0.95 * 0.05 / 100) of a share


def test_a_snapshot_has_quantiles_and_their_sequences():
    values = [latencies(4_000, 1.0, 1), latencies(4_000, 1.0, 2)]

    found = snapshot_of(values)

    for column, variant in zip(values, found.variants, strict=True):
        report = variant.metrics["latency"]
        quantile = float(np.quantile(column, 0.95))
        assert report.kind == "quantile"
        assert report.mean == variant.mean == pytest.approx(quantile, rel=0.016)
        assert report.lower < quantile < report.upper
        assert report.upper - report.lower < 0.2 * quantile
        assert (variant.lower, variant.upper) == (report.lower, report.upper)
    assert found.recommended_action is RecommendedAction.CONTINUE
    (comparison,) = found.evidence.comparisons
    assert comparison.lower < 0.0 < comparison.upper
    assert comparison.p_value > 0.05


@pytest.mark.parametrize(
    ("weights", "changed"),
    [
        ((), {}),
        ((), {"type": "thompson_sampling", "unit": "user", "conversionWindow": 0}),
        ((16_384, 49_152), {"type": "thompson_sampling", "unit": "user", "conversionWindow": 0}),
    ],
)
def test_the_quicker_variant_is_declared(weights, changed):
    shares = weights or (32_768, 32_768)
    slow, quick = (
        latencies(round(18_000 * share / 65_536), factor, seed)
        for share, factor, seed in zip(shares, (1.0, 0.8), (3, 4), strict=True)
    )
    values = [slow, quick]

    found = snapshot_of(values, weights, **changed)

    assert found.recommended_action is RecommendedAction.CONCLUDE_WINNER
    assert found.winner == 1
    (comparison,) = found.evidence.comparisons
    lead = float(np.quantile(slow, 0.95) - np.quantile(quick, 0.95))
    assert 0.0 < comparison.lower < lead < comparison.upper
    assert comparison.p_value < 0.05
    against = found.variants[1].metrics["latency"].against_control
    assert against.relative == pytest.approx(-0.2, abs=0.03)
    assert against.p_value < 0.05


def test_a_guardrail_of_a_quantile_trips_beyond_its_tolerated_harm():
    config: dict[str, Any] = {
        "primaryMetric": "click",
        "guardrailMetrics": ["latency"],
        "metrics": {"latency": P95 | {"toleratedHarm": 0.1, "margin": 0.5}},
    }

    found = snapshot_of([latencies(9_000, 1.0, 5), latencies(9_000, 1.4, 6)], **config)
    (guardrail,) = found.evidence.guardrails

    assert guardrail.is_tripped
    assert guardrail.harm == pytest.approx(0.4, abs=0.06)
    calm = snapshot_of([latencies(9_000, 1.0, 5), latencies(9_000, 1.05, 6)], **config)
    (guardrail,) = calm.evidence.guardrails
    assert (guardrail.is_tripped, guardrail.is_proven) == (False, True)


def test_a_variant_without_a_value_has_no_quantile():
    found = snapshot_of([latencies(50, 1.0, 1), np.zeros(0)])
    report = found.variants[1].metrics["latency"]

    assert (report.mean, report.lower, report.upper) == (None, None, None)
    assert report.undefined.code == "NO_UNITS"
    assert found.evidence.comparisons[0].p_value == 1.0


@pytest.mark.parametrize(
    ("changed", "code", "path"),
    [
        ({"metrics": {"latency": {"kind": "quantile"}}}, "MISSING_FIELD", "percentile"),
        ({"metrics": {"latency": P95 | {"percentile": 0.3}}}, "OUT_OF_RANGE", "percentile"),
        ({"metrics": {"latency": P95 | {"percentile": 95}}}, "OUT_OF_RANGE", "percentile"),
        ({"metrics": {"latency": {"percentile": 0.9}}}, "NOT_A_QUANTILE", "percentile"),
        ({"metrics": {"latency": P95 | {"cap": 3}}}, "CAP_NOT_USED", "cap"),
        ({"metrics": {"latency": P95 | {"winsorize": 0.9}}}, "WINSORIZE_NOT_USED", "winsorize"),
        ({"periods": {"stratified": True}}, "QUANTILE_WITHOUT_PERIODS", None),
        ({"plan": {"baseline": 9, "lift": 0.1, "units": 9, "deviation": 1}}, "PLAN_NOT_USED", None),
    ],
)
def test_what_a_quantile_cannot_have_is_refused(changed, code, path):
    with pytest.raises(InputError) as refused:
        parse(ExperimentConfig, CONFIG | changed)

    assert refused.value.code == code
    assert path is None or refused.value.path == f"metrics.latency.{path}"
