"""Bytes of every released version stay readable and never change."""

from io import BytesIO

import pytest
from fastavro import schemaless_reader, schemaless_writer

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK, Codec
from scripts.schema_samples import sample_of, structure_hash
from tests.documents import ROOT

KEPT = [schema for name in library.NAMES for schema in library.versions(name)]


@pytest.fixture(params=KEPT, ids=lambda schema: f"{schema.name}.{schema.version}")
def schema(request):
    return request.param


def test_a_released_schema_never_changes(schema):
    """The fingerprint leaves out defaults and attributes, the hash of the structure does not."""
    sample = sample_of(schema)
    seen = sample.encoded[:10], sample.structure

    assert seen == (SINGLE_OBJECT_MARK + schema.fingerprint, structure_hash(schema)), (
        f"{schema.name}.avsc changed: schemas/README.md says what to do"
    )


def test_golden_bytes_decode_to_the_sample_and_encode_to_the_same_bytes(schema):
    sample = sample_of(schema)
    stream = BytesIO()
    schemaless_writer(stream, schema.parsed, sample.record)
    body = sample.encoded[10:]

    assert schemaless_reader(BytesIO(body), schema.parsed, None) == sample.record
    assert stream.getvalue() == body


def test_golden_bytes_decode_in_the_newest_shape(schema):
    sample = sample_of(schema)
    name, record = Codec().decode(sample.encoded)

    assert name == schema.name
    assert record.keys() == {field["name"] for field in library.current(name).parsed["fields"]}
    if schema is library.current(name):
        assert record == sample.record
        assert Codec().encode(name, record) == sample.encoded


def test_a_release_writes_down_the_bytes_of_every_version():
    """Only a change that no release has yet may lack them, and such a one is in the change log."""
    changes = (ROOT / "CHANGELOG.md").read_text().partition("\n## Unreleased\n")[2]
    unreleased = changes.partition("\n## ")[0].strip()
    missing = [each for each in KEPT if not sample_of(each).is_golden]

    assert unreleased or not missing, "python -m scripts.keep_schemas"


def test_every_schema_has_a_sample_by_hand():
    assert {file.name.split(".")[0] for file in (ROOT / "schemas/golden").iterdir()} == set(
        library.NAMES
    )
