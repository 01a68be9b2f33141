"""Every combination that can be declared has a row, and the row simulates it."""

import numpy as np
import pytest

from benchmarks.calibration.combinations import (
    METRIC,
    all_combinations,
    combinations,
    environment_of,
    is_accepted,
    values_of,
)
from benchmarks.simulation.combined import UnitValues
from streams.planning.simulation import simulate
from streams.stats.kinds import MetricKind
from streams.stats.weighting import Weighting

ACCEPTED = [each for each in all_combinations() if is_accepted(each)]


def test_every_combination_that_is_accepted_has_a_row():
    for kind in MetricKind:
        assert values_of(kind).metrics[METRIC]["kind"] == kind, "a kind ships without values"
    assert {row.name for row in combinations().rows} == {each.name for each in ACCEPTED}


def test_few_combinations_are_refused():
    assert len(ACCEPTED) > len(all_combinations()) / 2
    assert {each.kind for each in ACCEPTED} == set(MetricKind)
    assert {each.weighting for each in ACCEPTED} == set(Weighting)


@pytest.mark.parametrize("combination", ACCEPTED, ids=lambda each: each.name)
def test_row_simulates_what_its_name_says(combination):
    """The last evaluation has the kind, the weighting, the plan and the window of the row."""
    experiment = combination.experiment()
    source = UnitValues(
        experiment,
        environment_of(combination),
        has_pairs=combination.weighting is not Weighting.INVERSE,
    )
    *_, last = simulate(experiment, source, [100] * 6, np.random.default_rng(2026_37))
    metric = last.snapshot.metrics[experiment.definition.config.primary_metric]
    evidence = last.snapshot.evidence

    assert evidence is not None
    assert metric.kind is combination.kind
    assert metric.contradiction is None
    assert evidence.weighting is combination.weighting
    assert (evidence.planned_information is not None) is combination.has_plan
    assert (metric.conversion_window > 0) is combination.has_window
    assert sum(evidence.units_with_value) > 0
    if combination.has_covariate:
        assert [use.name for use in last.snapshot.features]
