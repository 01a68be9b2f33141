"""Features of contextual policies and covariates of others, and the dimensions of both."""

import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.update import ExperimentUpdate, updated
from streams.model.errors import InputError
from streams.model.validation import parse
from tests.streams.experiments.definitions import CONFIG, FIXED, VARIANTS, refusal

BEFORE = {"name": "age", "minimum": 0, "maximum": 100}


@pytest.mark.parametrize(
    ("covariates", "code", "path"),
    [
        (3, "WRONG_TYPE", "covariates"),
        ([{"name": "age", "minimum": 0}], "MISSING_FIELD", "covariates[0].maximum"),
        ([{"name": "a b", "minimum": 0, "maximum": 1}], "INVALID_NAME", "covariates[0].name"),
        ([BEFORE | {"minimum": "0"}], "WRONG_TYPE", "covariates[0].minimum"),
        ([BEFORE | {"minimum": True}], "WRONG_TYPE", "covariates[0].minimum"),
        ([BEFORE | {"maximum": 0}], "EMPTY_RANGE", "covariates[0].maximum"),
        ([BEFORE | {"maximum": 1e16}], "OUT_OF_RANGE", "covariates[0].maximum"),
        ([BEFORE | {"type": "category"}], "UNKNOWN_FIELD", "covariates[0].type"),
        ([BEFORE, BEFORE], "DUPLICATE_NAME", "covariates[1].name"),
        ([BEFORE | {"name": f"c{n}"} for n in range(9)], "OUT_OF_RANGE", "covariates"),
    ],
)
def test_bad_covariates_are_refused(covariates, code, path):
    found = refusal(FIXED | {"covariates": covariates}, VARIANTS)
    assert found == (code, f"config.{path}")


def test_covariates_are_of_policies_that_read_no_features_and_fit_a_cell():
    features = {"features": [{"name": "age", "type": "number", "minimum": 0, "maximum": 1}]}
    config = CONFIG | {"type": "lin_ucb", "parameters": features, "covariates": [BEFORE]}
    assert refusal(config, VARIANTS) == ("COVARIATES_NOT_CONTEXTUAL", "config.covariates")
    many = [BEFORE | {"name": f"c{n}"} for n in range(8)]
    named = [{"name": f"V{n}", "isControl": n == 0} for n in range(27)]
    parse_definition(FIXED | {"covariates": many}, named[:26])
    refused = "TOO_MANY_DIMENSIONS", "config.covariates"
    assert refusal(FIXED | {"covariates": many}, named) == refused
    parse_definition(CONFIG | {"covariates": many}, named[:5])
    assert refusal(CONFIG | {"covariates": many}, named[:6]) == refused


AGE = {"name": "age", "type": "number", "minimum": 0, "maximum": 100}
CONTEXTUAL = CONFIG | {"type": "lin_ucb", "parameters": {"features": [AGE]}}


def hashed(buckets):
    feature = {"name": "campaign", "type": "hashed", "buckets": buckets}
    return CONTEXTUAL | {"parameters": {"features": [feature]}}


@pytest.mark.parametrize(
    ("features", "code", "path"),
    [
        (None, "MISSING_FIELD", ""),
        ([], "OUT_OF_RANGE", ""),
        ([AGE, AGE], "DUPLICATE_NAME", "[1].name"),
        ([{**AGE, "type": "letter"}], "UNKNOWN_VALUE", "[0].type"),
        ([{**AGE, "buckets": 3}], "FIELD_NOT_USED", "[0].buckets"),
        ([{"name": "age", "type": "number", "minimum": 0}], "MISSING_FIELD", "[0].maximum"),
        ([{**AGE, "maximum": 0}], "EMPTY_RANGE", "[0].maximum"),
        (
            [{"name": "device", "type": "category", "values": ["a", "a"]}],
            "DUPLICATE_VALUE",
            "[0].values",
        ),
        (
            [AGE, {"name": "campaign", "type": "hashed", "buckets": 63}],
            "TOO_MANY_DIMENSIONS",
            "",
        ),
    ],
)
def test_features_that_are_no_space_are_named(features, code, path):
    parameters = {} if features is None else {"features": features}
    with pytest.raises(InputError) as caught:
        parse_definition(CONTEXTUAL | {"parameters": parameters}, VARIANTS)

    assert caught.value.code == code
    assert caught.value.path == f"config.parameters.features{path}"


def test_variants_times_dimension_is_bounded():
    """64 entries with the intercept fit 16 variants, and no more."""
    arms = [{"name": f"V{i}", "isControl": i == 0} for i in range(17)]

    parse_definition(hashed(63), arms[:16])
    with pytest.raises(InputError) as caught:
        parse_definition(hashed(63), arms)

    assert caught.value.code == "TOO_MANY_DIMENSIONS"
    assert caught.value.path == "config.parameters.features"


def test_a_contextual_definition_survives_its_own_json_and_an_update():
    device = {"name": "device", "type": "category", "values": ["mobile", "desktop"]}
    config = CONTEXTUAL | {"parameters": {"features": [AGE, device], "alpha": 0.5}}
    definition = parse_definition(config, VARIANTS)
    as_json = definition.model_dump(mode="json", by_alias=True)

    assert parse_definition(as_json["config"], as_json["variants"]) == definition
    assert updated(definition, parse(ExperimentUpdate, {})) == definition
