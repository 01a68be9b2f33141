"""Updates: they change what they name, and nothing that is measured."""

from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from streams.experiments.definition import parse_definition
from streams.experiments.measurement_plan import plan_of
from streams.experiments.update import ExperimentUpdate, updated
from streams.model.errors import InputError
from streams.model.validation import parse
from tests.streams.experiments.definitions import CONFIG, FIXED, RATIO, VARIANTS, declared


def test_update_changes_what_it_names_and_nothing_else():
    definition = parse_definition(CONFIG, VARIANTS)

    changed = updated(definition, parse(ExperimentUpdate, {"trafficAllocation": 0.0}))

    assert changed.config.traffic_allocation == 0.0
    assert changed.model_copy(update={"config": definition.config}) == definition
    assert updated(definition, parse(ExperimentUpdate, {})) == definition


def test_update_of_a_threshold_of_the_policy():
    definition = parse_definition(FIXED | {"parameters": {"priorAlpha": 2}}, VARIANTS)
    update = parse(ExperimentUpdate, {"parameters": {"earlyStoppingThreshold": 0.99}})

    parameters = updated(definition, update).config.parameters.model_dump()

    assert parameters["early_stopping_threshold"] == 0.99
    assert parameters["prior_alpha"] == 2.0


def test_update_of_a_threshold_the_policy_does_not_have_is_refused():
    update = parse(ExperimentUpdate, {"parameters": {"earlyStoppingThreshold": 0.99}})

    with pytest.raises(InputError) as caught:
        updated(parse_definition(CONFIG, VARIANTS), update)

    assert caught.value.code == "UNKNOWN_PARAMETER"
    assert caught.value.path == "config.parameters.earlyStoppingThreshold"


@pytest.mark.parametrize(
    ("payload", "code", "path"),
    [
        ({"trafficAllocation": 2}, "OUT_OF_RANGE", "trafficAllocation"),
        ({"type": "ucb"}, "UNKNOWN_FIELD", "type"),
        ({"significanceThreshold": 1}, "OUT_OF_RANGE", "significanceThreshold"),
        ({"parameters": {"priorAlpha": 3}}, "UNKNOWN_PARAMETER", "parameters.priorAlpha"),
    ],
)
def test_faults_of_an_update_are_named(payload, code, path):
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, payload)

    assert (caught.value.code, caught.value.path) == (code, path)


def test_no_update_changes_what_is_measured():
    definition = parse_definition(declared(ctr=RATIO, clicks={"cap": 20}), VARIANTS)
    everything: dict[str, Any] = {
        "trafficAllocation": 0.5,
        "minSampleSize": 7,
        "negligibleDifference": 0.02,
        "significanceThreshold": 0.9,
        "autoPromoteWinner": True,
        "maxExpectedLoss": 0.5,
        "minDuration": 9,
        "controlShare": 0.1,
        "ignoredUnits": ["bot"],
        "overrides": {"qa": "A"},
        "schedule": {"startAt": 1_764_000_000_000},
        "owner": "ana",
        "tags": ["web"],
    }
    assert {to_camel(name) for name in ExperimentUpdate.model_fields} == {*everything, "parameters"}

    after = updated(definition, parse(ExperimentUpdate, everything))

    assert plan_of(after) == plan_of(definition)
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, {"metrics": {"clicks": {"cap": 10}}})
    assert (caught.value.code, caught.value.path) == ("METRICS_FIXED", "metrics")
