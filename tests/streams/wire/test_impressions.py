from dataclasses import replace

import pytest
from hypothesis import given

from schemas.codec import Codec
from streams.model.errors import EventError, InvalidParameterError
from streams.model.events import ImpressionBatch, ImpressionGroup
from streams.model.ids import experiment_id
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from tests.strategies import records

GROUP = ImpressionGroup(7, True, [0, 1], [1, 2**32], [0, 3], [5, 6], [0, 2**64 - 1], [])


def batch(*groups):
    return ImpressionBatch(2**64 - 1, 3, 0, list(groups))


@given(sent=records(ImpressionBatch))
def test_a_batch_returns(sent):
    assert decode_impression_batch(encode_impression_batch(sent)) == sent


def test_units_are_the_same_bits_signed():
    _, record = Codec().decode(encode_impression_batch(batch(GROUP)))

    assert record["units"] == [0, -1]
    assert record["experiment_ids"] == [experiment_id(7)]
    assert record["incarnation"] == "f" * 16


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"variants": [0]}, "UNEQUAL_COLUMNS", "variants"),
        ({"contexts": ["{}"]}, "UNEQUAL_COLUMNS", "contexts"),
        ({"with_contexts": [True]}, "UNEQUAL_COLUMNS", "contexts"),
        ({"features": [b""]}, "UNEQUAL_COLUMNS", "features"),
        ({"with_features": [True]}, "UNEQUAL_COLUMNS", "features"),
        ({"with_features": [False, False]}, "UNEQUAL_COLUMNS", "sizes"),
        ({"repeatable": []}, "UNEQUAL_COLUMNS", "sizes"),
        ({"sizes": [3, -1]}, "UNEQUAL_COLUMNS", "sizes"),
        ({"sizes": [-2]}, "UNEQUAL_COLUMNS", "sizes"),
        ({"sizes": [3]}, "UNEQUAL_COLUMNS", "variants"),
        ({"variants": [0, 2**16]}, "OUT_OF_RANGE", "variants"),
        ({"variants": [-1, 0]}, "OUT_OF_RANGE", "variants"),
        ({"propensities": [0, 1]}, "OUT_OF_RANGE", "propensities"),
        ({"propensities": [1, 2**32 + 1]}, "OUT_OF_RANGE", "propensities"),
        ({"allocation_versions": [0, 2**48]}, "OUT_OF_RANGE", "allocation_versions"),
        ({"assigned_at_ms": [0, -1]}, "OUT_OF_RANGE", "assigned_at_ms"),
        ({"experiment_ids": ["exp_zzzzzzzzzzzzz"]}, "INVALID_EXPERIMENT_ID", "experimentId"),
    ],
)
def test_a_column_outside_its_bounds_is_named(change, code, path):
    _, record = Codec().decode(encode_impression_batch(batch(GROUP)))
    with pytest.raises(EventError) as caught:
        decode_impression_batch(Codec().encode("impression_batch", {**record, **change}))

    assert (caught.value.code, caught.value.path) == (code, path)


def test_unequal_columns_are_not_written():
    with pytest.raises(InvalidParameterError):
        encode_impression_batch(batch(replace(GROUP, variants=[0])))
