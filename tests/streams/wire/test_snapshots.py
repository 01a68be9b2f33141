from dataclasses import replace

import pytest
from hypothesis import given

from schemas.codec import Codec
from streams.experiments.snapshot import Snapshot
from streams.model.errors import EventError
from streams.wire.snapshots import decode_snapshot, encode_snapshot
from tests.strategies import records

snapshots = records(Snapshot)


@given(snapshot=snapshots)
def test_a_snapshot_returns(snapshot):
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


@given(snapshot=snapshots)
def test_a_snapshot_encodes_to_the_same_bytes_after_a_round_trip(snapshot):
    encoded = encode_snapshot(snapshot)

    assert encode_snapshot(decode_snapshot(encoded)) == encoded
    assert encode_snapshot(replace(snapshot)) == encoded


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"definition": "{"}, "INVALID_JSON", "definition"),
        ({"definition": "[]"}, "WRONG_TYPE", "definition"),
        ({"definition": '{"config": {}}'}, "MISSING_FIELD", "definition.variants"),
        ({"status": "asleep"}, "UNKNOWN_VALUE", "status"),
        ({"experiment_id": "7"}, "INVALID_EXPERIMENT_ID", "experimentId"),
    ],
)
@given(snapshot=snapshots)
def test_a_field_that_cannot_be_used_is_named(change, code, path, snapshot):
    _, record = Codec().decode(encode_snapshot(snapshot))
    record["experiment"] |= change
    with pytest.raises(EventError) as caught:
        decode_snapshot(Codec().encode("snapshot", record))

    assert caught.value.code == code
    if code != "MISSING_FIELD":
        assert caught.value.path == path
