from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InputError
from streams.model.vectors import INTERCEPT, pack, unpack
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import Feature, FeatureType

SPACE = FeatureSpace(
    [
        Feature(name="age", type=FeatureType.NUMBER, minimum=0.0, maximum=100.0),
        Feature(name="device", type=FeatureType.CATEGORY, values=("mobile", "desktop", "true")),
        Feature(name="city", type=FeatureType.HASHED, buckets=8),
        Feature(name="location", type=FeatureType.CATEGORY, values=("US", "7")),
    ]
)


def test_vector_worked_by_hand():
    """35 of 0..100 is -0.3, in 1,024ths -307.2; desktop is the second of its block."""
    assert SPACE.dimension == 1 + 1 + 3 + 8 + 2
    assert SPACE.encode({"age": 35}, "desktop", "US") == (
        (0, 1024),
        (1, -307),
        (3, 1024),
        (13, 1024),
    )


def test_hash_is_what_any_language_computes():
    """The upper 63 bits of a keyed BLAKE2b are the bucket of eight, the lowest is the sign."""
    bits = int.from_bytes(blake2b(b"Berlin", digest_size=8, key=b"city").digest(), "big")
    expected = (5 + ((bits >> 1) * 8 >> 63), 1024 if bits & 1 else -1024)

    assert SPACE.encode({"city": "Berlin"}) == (*INTERCEPT, expected)


def test_hashed_texts_spread_over_buckets_and_signs():
    """4,000 texts over 16 cells of 250: six standard errors are 92, so false alarms < 1e-7."""
    cells = Counter(SPACE.encode({"city": f"city {n}"})[1] for n in range(4_000))

    assert len(cells) == 16
    assert all(abs(count - 250) < 92 for count in cells.values())


@pytest.mark.parametrize(
    ("features", "device", "location", "expected"),
    [
        ({}, None, None, ()),
        (None, None, None, ()),
        ({"age": None, "other": [1]}, None, None, ()),
        ({"age": 50}, None, None, ()),
        ({"age": -3}, None, None, ((1, -1024),)),
        ({"age": 10**400}, None, None, ((1, 1024),)),
        ({}, "tv", "DE", ()),
        ({"device": "mobile"}, "desktop", None, ((2, 1024),)),
        ({"device": True, "location": 7}, None, None, ((4, 1024), (14, 1024))),
    ],
)
def test_what_is_missing_or_unknown_adds_nothing(features, device, location, expected):
    assert SPACE.encode(features, device, location) == INTERCEPT + expected


@pytest.mark.parametrize(
    ("features", "code", "path"),
    [
        ({"age": "35"}, "WRONG_TYPE", "features.age"),
        ({"age": True}, "WRONG_TYPE", "features.age"),
        ({"age": float("nan")}, "NOT_FINITE", "features.age"),
        ({"age": float("-inf")}, "NOT_FINITE", "features.age"),
        ({"device": 1.5}, "WRONG_TYPE", "features.device"),
        ({"city": {"name": "Berlin"}}, "WRONG_TYPE", "features.city"),
    ],
)
def test_what_is_no_feature_is_refused(features, code, path):
    with pytest.raises(InputError) as refused:
        SPACE.encode(features)

    assert (refused.value.code, refused.value.path) == (code, path)


contexts = st.fixed_dictionaries(
    {},
    optional={
        "age": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers()),
        "device": st.sampled_from(["mobile", "desktop", "tv"]),
        "city": st.text(),
        "location": st.sampled_from(["US", "DE"]),
    },
)


@given(contexts)
def test_vectors_of_requests_survive_their_bytes(features):
    vector = SPACE.encode(features)

    assert unpack(pack(vector)) == vector
    assert len(pack(vector)) <= 3 * 4
    assert [index for index, _ in vector] == sorted({index for index, _ in vector})
    assert all(0 < abs(value) <= 1024 for _, value in vector)
