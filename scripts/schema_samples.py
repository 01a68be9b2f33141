"""Samples of the schemas: a record of every version, for tests and for golden bytes.

`schemas/golden/NAME.N.json` holds a record in Avro's JSON encoding, written by hand (`decoded`). A
field that was added since, to this version or a later one, has a value that follows from its type.
The bytes of a version, and a hash of its structure, are added by the release that first writes it,
and never change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from fastavro import json_reader, schemaless_writer

from schemas import library
from schemas.codec import SINGLE_OBJECT_MARK

GOLDEN = Path(library.__file__).parent / "golden"

_VALUES: Mapping[str, tuple[Any, Any]] = {
    "boolean": (True, False),
    "int": (1, 2),
    "long": (1, 2),
    "float": (0.5, 0.25),
    "double": (0.5, 0.25),
    "string": ("a", "b"),
    "bytes": ("\x01", "\x02"),
}
"""Two values of each primitive type, of which one at least is not the default."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A sample of one version of a schema.

    Attributes:
        decoded: The record in Avro's JSON encoding.
        record: The record.
        encoded: It as a single object.
        structure: Hash of the structure of the schema that it was written by.
        is_golden: Whether a release has written this version, so that bytes and structure are those
            of its file. If not, they follow from the schema.
    """

    decoded: Any
    record: Any
    encoded: bytes
    structure: str
    is_golden: bool


def sample_of(schema: library.Schema) -> Sample:
    """Return the sample of a version of a schema.

    Raises:
        FileNotFoundError: no version up to it has a sample.
    """
    kept = json.loads(_newest_file(schema).read_text("utf-8"))
    is_golden = file_of(schema).is_file() and "encoded" in kept
    decoded = kept["decoded"]
    if not is_golden:
        decoded = _completed(decoded, schema.parsed, dict(_named(schema.parsed)))
    (record,) = json_reader(StringIO(json.dumps(decoded)), schema.parsed)
    if is_golden:
        return Sample(decoded, record, bytes.fromhex(kept["encoded"]), kept["structure"], True)
    body = BytesIO()
    schemaless_writer(body, schema.parsed, record)
    encoded = SINGLE_OBJECT_MARK + schema.fingerprint + body.getvalue()
    return Sample(decoded, record, encoded, structure_hash(schema), False)


def file_of(schema: library.Schema) -> Path:
    """Return the file of the sample of a version."""
    return GOLDEN / f"{schema.name}.{schema.version}.json"


def structure_hash(schema: library.Schema) -> str:
    """Return a hash of the `library.structure` of a schema."""
    text = json.dumps(library.structure(json.loads(schema.text)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _newest_file(schema: library.Schema) -> Path:
    """Return the sample of a version, or of the newest one before it that has one."""
    files = [file_of(each) for each in library.versions(schema.name)[: schema.version]]
    for file in reversed(files):
        if file.is_file():
            return file
    raise FileNotFoundError(files[-1])


def _named(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the records of a parsed schema by name."""
    match schema:
        case {"type": "record", "name": name, "fields": fields}:
            yield name, schema
            for field in fields:
                yield from _named(field["type"])
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            yield from _named(inner)
        case list():
            for branch in schema:
                yield from _named(branch)


def _completed(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """Return a value in Avro's JSON encoding with all fields of its records, and no others."""
    match schema:
        case {"type": "record", "fields": fields}:
            return {
                field["name"]: _completed(value[field["name"]], field["type"], named)
                if field["name"] in value
                else _example(field["type"], named, field.get("default"))
                for field in fields
            }
        case {"type": "array", "items": items}:
            return [_completed(each, items, named) for each in value]
        case {"type": "map", "values": values}:
            return {key: _completed(each, values, named) for key, each in value.items()}
        case list() if value is not None:
            [(chosen, inner)] = value.items()
            [branch] = [each for each in schema if _branch(each) == chosen]
            return {chosen: _completed(inner, branch, named)}
        case str() if schema in named:
            return _completed(value, named[schema], named)
        case _:
            return value


def _example(schema: Any, named: Mapping[str, Any], default: Any = None) -> Any:
    """Return a value in Avro's JSON encoding that is not the default."""
    match schema:
        case {"type": "record"}:
            return _completed({}, schema, named)
        case {"type": "array", "items": items}:
            return [_example(items, named)]
        case {"type": "map", "values": values}:
            return {"a": _example(values, named)}
        case list():
            branch = next(each for each in schema if each != "null")
            return {_branch(branch): _example(branch, named, default)}
        case str() if schema in named:
            return _example(named[schema], named)
        case _:
            name = schema if isinstance(schema, str) else schema["type"]
            other = default.decode("latin-1") if isinstance(default, bytes) else default
            return next(each for each in _VALUES[name] if each != other)


def _branch(schema: Any) -> str:
    """Return the name of a branch of a union in Avro's JSON encoding."""
    if isinstance(schema, str):
        return schema
    name: str = schema.get("name", schema["type"])
    return name
