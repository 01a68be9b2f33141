import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import parse_schema

from schemas import library

SCHEMAS = files("schemas")


def bitwise_crc64(data: bytes) -> int:
    """The fingerprint as the Avro specification defines it, a bit at a time."""
    empty = 0xC15D213AA4D7A795
    fingerprint = empty
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = fingerprint >> 1 ^ (empty if fingerprint & 1 else 0)
    return fingerprint


def documented(schema, path=""):
    """Yield (path, doc) of every record and field."""
    match schema:
        case {"type": "record", "name": name, "fields": members}:
            yield f"{path}/{name}", schema.get("doc")
            for field in members:
                yield f"{path}/{name}.{field['name']}", field.get("doc")
                yield from documented(field["type"], f"{path}/{name}")
        case {"type": "array", "items": part} | {"type": "map", "values": part}:
            yield from documented(part, path)
        case [*branches]:
            for branch in branches:
                yield from documented(branch, path)


@pytest.mark.parametrize(
    ("canonical", "expected"),
    [
        ('"null"', 0x63DD24E7CC258F8A),  # Avro's own share/test/data/schema-tests.txt
        ('"int"', 0x7275D51A3F395C8F),
    ],
)
def test_fingerprint_equals_the_published_one(canonical, expected):
    assert bitwise_crc64(canonical.encode()) == expected
    assert library.crc64_avro(json.loads(canonical)) == expected.to_bytes(8, "little")


def test_fingerprint_of_a_schema_equals_the_one_of_its_canonical_form_by_hand():
    canonical = (
        '{"name":"experiment_streams.Decision","type":"record","fields":['
        '{"name":"experiment_id","type":"string"},{"name":"kind","type":"string"},'
        '{"name":"at_ms","type":"long"},{"name":"version","type":"long"},'
        '{"name":"evidence","type":"string"},{"name":"snapshot","type":["null","bytes"]}]}'
    )

    expected = bitwise_crc64(canonical.encode()).to_bytes(8, "little")
    assert library.current("decision").fingerprint == expected


def test_versions_of_all_schemas_have_different_fingerprints():
    found = [schema.fingerprint for name in library.NAMES for schema in library.versions(name)]

    assert len(set(found)) == len(found)


def test_no_version_is_kept_without_its_successors():
    kept = [file.name for file in Path(library.__file__).parent.glob("versions/*")]
    older = [
        f"{schema.name}.{schema.version}.avsc"
        for name in library.NAMES
        for schema in library.versions(name)[:-1]
    ]

    assert sorted(kept) == sorted(older)


@pytest.mark.parametrize("name", library.NAMES)
def test_every_record_and_field_is_documented(name):
    newest = json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8"))

    assert [path for path, doc in documented(newest) if not doc] == []


def test_all_schema_files_are_known():
    found = {file.name for file in SCHEMAS.iterdir() if file.name.endswith(".avsc")}

    assert found == {f"{name}.avsc" for name in library.NAMES}


def test_single_observation_is_the_member_of_a_batch():
    single = json.loads(library.current("observation").text)
    batch = json.loads(library.current("observation_batch").text)
    (member,) = [
        field["type"]["items"] for field in batch["fields"] if field["name"] == "observations"
    ]

    assert {"namespace": "experiment_streams", **member} == single


@pytest.mark.parametrize("name", library.NAMES)
def test_a_schema_stands_alone(name):
    parsed: Any = parse_schema(json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8")))

    assert parsed["name"].startswith("experiment_streams.")


def test_an_unknown_schema_is_a_key_error():
    with pytest.raises(KeyError):
        library.versions("nothing")
