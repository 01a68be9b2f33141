"""Bytes of every released version stay readable and never change."""

import json
from importlib.resources import files
from io import BytesIO, StringIO

import pytest
from fastavro import json_reader, schemaless_reader, schemaless_writer

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK, Codec
from scripts.keep_schemas import structure_hash

KEPT = [schema for name in library.NAMES for schema in library.versions(name)]


def golden_of(schema):
    file = files("schemas") / "golden" / f"{schema.name}.{schema.version}.json"
    return json.loads(file.read_text("utf-8"))


def sample(schema):
    golden = golden_of(schema)
    (decoded,) = json_reader(StringIO(json.dumps(golden["decoded"])), schema.parsed)
    return decoded, bytes.fromhex(golden["encoded"])


@pytest.fixture(params=KEPT, ids=lambda schema: f"{schema.name}.{schema.version}")
def schema(request):
    return request.param


def test_a_released_schema_never_changes(schema):
    """The fingerprint leaves out defaults and attributes, the hash of the structure does not."""
    _, encoded = sample(schema)
    seen = encoded[:10], golden_of(schema)["structure"]

    assert seen == (SINGLE_OBJECT_MARK + schema.fingerprint, structure_hash(schema)), (
        f"{schema.name}.avsc changed: python scripts/keep_schemas.py --help says what to do"
    )


def test_golden_bytes_decode_to_the_sample_and_encode_to_the_same_bytes(schema):
    decoded, encoded = sample(schema)
    stream = BytesIO()
    schemaless_writer(stream, schema.parsed, decoded)

    assert schemaless_reader(BytesIO(encoded[10:]), schema.parsed, None) == decoded
    assert stream.getvalue() == encoded[10:]


def test_golden_bytes_decode_in_the_newest_shape(schema):
    decoded, encoded = sample(schema)
    name, record = Codec().decode(encoded)

    assert name == schema.name
    assert record.keys() == {field["name"] for field in library.current(name).parsed["fields"]}
    if schema is library.current(name):
        assert record == decoded
        assert Codec().encode(name, record) == encoded
