"""Voided units in what is published, also where they are read before they were counted."""

from __future__ import annotations

import pytest

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.statistics import VoidedUnits
from streams.model.quantities import MICRO
from streams.tallies.cell import merge
from tests.streams.fold.test_voids import EXPERIMENT, N_UNITS, NOW_MS, assigned, observed

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
