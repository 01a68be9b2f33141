"""Voided units in what is published, also where they are read before they were counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics.left_out import VoidedUnits
from streams.model.quantities import MICRO
from streams.model.receipts import Receipt
from streams.model.variant_weights import pack_weights
from streams.tallies.merging import merge
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import encode_snapshot
from tests.streams.fold import test_voids as voids
from tests.streams.fold.test_voids import (
    EXPERIMENT,
    N_UNITS,
    NOW_MS,
    WINDOW_S,
    assigned,
    observed,
)

CONFIGS: list[dict[str, object]] = [
    {"type": "bayesian_ab"},
    {"type": "thompson_sampling"},
    {"type": "thompson_sampling", "conversionWindow": 60},
    {"type": "top_two_thompson"},
    {"type": "ucb", "metrics": {"click": {"kind": "revenue"}}},
    {"type": "bayesian_ab", "metrics": {"click": {"kind": "quantile", "percentile": 0.5}}},
    {"type": "bayesian_ab", "covariates": [{"name": "spend", "minimum": 0, "maximum": 9}]},
    {"type": "epsilon_greedy", "guardrailMetrics": ["pay"]},
]
WEIGHTS = [
    (30_000, 20_000, 15_536),
    (1_000, 60_000, 4_536),
    (60_000, 1_000, 4_536),
    (100, 100, 65_336),
    (32_768, 0, 32_768),
    (0, 32_768, 32_768),
]


def experiment(config: dict[str, object]) -> Experiment:
    definition = parse_definition(
        {"name": "Hero", "primaryMetric": "click", "unit": "user", **config},
        [{"name": name, "isControl": name == "A"} for name in "ABC"],
    )
    return Experiment(
        EXPERIMENT, definition, Status.RUNNING, version=3, created_at_ms=1, started_version=2
    )


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("n_assigned", [0, 2, N_UNITS])
def test_voided_units_are_published_and_never_in_the_way(
    config: dict[str, object], n_assigned: int
) -> None:
    """Unit 4, of variant 1, clicked; 0 and 3, of variant 0, and 2 are voided, 3 after it clicked.

    While impressions are not read yet, fewer units than none were assigned.
    """
    running = experiment(config)
    plan = plan_of(running.definition)
    stream = [
        (4, "click", MICRO, "e", 0),
        (3, "click", MICRO, "e", 0),
        *((unit, "$void.bot", MICRO, None, 0) for unit in (0, 3)),
        (2, "$void.ivt", MICRO, None, 0),
    ]
    found = [observed(stream, plan)[0], assigned(range(n_assigned), plan)]
    tally = merge([cell for cell in found if cell is not None], NOW_MS + 10**9)

    snapshot = evaluate(running, tally, ())

    assert snapshot.voided == (VoidedUnits("bot", 2), VoidedUnits("ivt", 1))
    assert all(report.assignments >= 0 for report in snapshot.variants)
    if n_assigned == N_UNITS:
        assert [report.assignments for report in snapshot.variants] == [0, 2, 0]
        assert [report.observations for report in snapshot.variants] == [0, 1, 0]


def receipts_of(chosen: random.Random, n_units: int) -> list[Receipt]:
    """Return receipts of units whose variants had different chances, some of them none."""
    found = []
    for unit in range(n_units):
        weights = chosen.choice(WEIGHTS)
        variant = chosen.choice([index for index, weight in enumerate(weights) if weight])
        propensity, packed = weights[variant] << 16, pack_weights(weights)
        at_ms, features = NOW_MS + 1_000 * unit, b"\1\4\0" if unit % 2 else b""
        found.append(
            Receipt(EXPERIMENT, variant, propensity, 1, at_ms, unit, WINDOW_S, packed, features)
        )
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=8, deadline=None)
@given(chosen=st.randoms(use_true_random=False))
def test_whatever_is_read_of_voids_and_impressions_can_be_evaluated(
    config: dict[str, object], chosen: random.Random
) -> None:
    """Sums over units may be negative one by one, as the weights of the units differ."""
    running = experiment(config)
    plan = plan_of(running.definition)
    n_units = 24
    receipts = receipts_of(chosen, n_units)
    clicked, voided, read = (
        chosen.sample(range(n_units), chosen.randint(0, n_units)) for _ in range(3)
    )
    stream = [
        *((unit, "click", chosen.choice([0, MICRO]), "e", 0) for unit in clicked),
        *((unit, "$void.bot", MICRO, None, 0) for unit in voided),
    ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voids, "receipt_of", receipts.__getitem__)
        found = [observed(stream, plan)[0], assigned(read, plan)]
    tally = merge([cell for cell in found if cell is not None], NOW_MS + 10**9)

    snapshot = evaluate(running, tally, ())

    assert encode_snapshot(snapshot, SINGLE_OBJECT)
    assert all(report.assignments >= 0 for report in snapshot.variants)
