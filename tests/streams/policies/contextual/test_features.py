import pytest

from streams.model.errors import InputError
from streams.model.validation import parse
from streams.model.vectors import MAX_DIMENSION
from streams.policies.contextual.features import Feature
from streams.policies.contextual.lin_ucb import LinUCB

AGE = {"name": "age", "type": "number", "minimum": 0, "maximum": 100.0}
DEVICE = {"name": "device", "type": "category", "values": ["mobile", "desktop"]}
CITY = {"name": "city", "type": "hashed", "buckets": 8}


def test_features_are_declared_by_type():
    policy = parse(LinUCB, {"features": [AGE, DEVICE, CITY]})

    assert [feature.width for feature in policy.features] == [1, 2, 8]
    assert parse(LinUCB, policy.model_dump(by_alias=True, mode="json")) == policy


@pytest.mark.parametrize(
    ("features", "code", "path"),
    [
        (None, "MISSING_FIELD", "features"),
        ([], "OUT_OF_RANGE", "features"),
        ([AGE] * 33, "OUT_OF_RANGE", "features"),
        ([AGE, CITY, AGE], "DUPLICATE_NAME", "features[2].name"),
        ([AGE, {**DEVICE, "name": "9"}], "INVALID_NAME", "features[1].name"),
        ([{"name": "age"}], "MISSING_FIELD", "features[0].type"),
        ([{"name": "age", "type": "date"}], "UNKNOWN_VALUE", "features[0].type"),
        ([{"name": "age", "type": "number", "maximum": 1}], "MISSING_FIELD", "features[0].minimum"),
        ([{**AGE, "buckets": 8}], "FIELD_NOT_USED", "features[0].buckets"),
        ([{**AGE, "maximum": 0}], "EMPTY_RANGE", "features[0].maximum"),
        ([{**AGE, "maximum": float("inf")}], "NOT_FINITE", "features[0].maximum"),
        ([{**AGE, "minimum": "0"}], "WRONG_TYPE", "features[0].minimum"),
        ([{**AGE, "scale": 1}], "UNKNOWN_FIELD", "features[0].scale"),
        ([{**DEVICE, "values": ["a", "a"]}], "DUPLICATE_VALUE", "features[0].values"),
        ([{**DEVICE, "values": []}], "OUT_OF_RANGE", "features[0].values"),
        ([{**CITY, "buckets": 0}], "OUT_OF_RANGE", "features[0].buckets"),
        ([{**CITY, "buckets": MAX_DIMENSION - 1}, AGE], "TOO_MANY_DIMENSIONS", "features"),
    ],
)
def test_what_cannot_be_a_space_is_refused_with_code_and_path(features, code, path):
    with pytest.raises(InputError) as refused:
        parse(LinUCB, {} if features is None else {"features": features})

    assert (refused.value.code, refused.value.path) == (code, path)


def test_largest_space_is_allowed():
    policy = parse(LinUCB, {"features": [{**CITY, "buckets": MAX_DIMENSION - 1}]})

    assert policy.features == (Feature.model_validate({**CITY, "buckets": MAX_DIMENSION - 1}),)
