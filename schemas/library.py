"""Every released version of every schema, parsed once.

`NAME.avsc` is the newest version of a schema. `versions/NAME.N.avsc` holds each version before it,
because records of any version may still be in a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

NAMES = (
    "impression_batch",
    "observation",
    "observation_batch",
    "command",
    "tally_cell",
    "snapshot",
    "decision",
    "dead_letter",
    "generation_change",
    "schema_levels",
    "experiment_end",
    "time_point",
    "webhook",
    "webhook_progress",
)
"""Names of the schemas of records; nested types have no name here."""

DIRECTORY: Traversable = files(__package__)
"""Directory of the schema files."""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One version of a schema.

    Attributes:
        name: Name of its file, snake case.
        version: From 1.
        full_name: Name of its record, with the namespace.
        text: The schema as JSON, with its documentation.
        parsed: The same as fastavro takes it.
        fingerprint: CRC-64-AVRO of its parsing canonical form, little-endian, 8 bytes.
    """

    name: str
    version: int
    full_name: str
    text: str
    parsed: dict[str, Any]
    fingerprint: bytes


def current(name: str) -> Schema:
    """Return the newest version of schema `name`, whose shape readers get."""
    return versions(name)[-1]


def newest_versions() -> dict[str, int]:
    """Return the newest version of every schema, by name: what this process reads."""
    return {name: current(name).version for name in NAMES}


@cache
def versions(name: str) -> tuple[Schema, ...]:
    """Return every version of schema `name`, oldest first.

    Raises:
        KeyError: there is no such schema.
    """
    if name not in NAMES:
        raise KeyError(name)
    found: list[Schema] = []
    while (file := DIRECTORY / "versions" / f"{name}.{len(found) + 1}.avsc").is_file():
        found.append(_schema(name, len(found) + 1, file.read_text("utf-8")))
    newest = (DIRECTORY / f"{name}.avsc").read_text("utf-8")
    return (*found, _schema(name, len(found) + 1, newest))


@cache
def by_record_name() -> Mapping[str, str]:
    """Return the schema name of each record name, without namespaces."""
    return MappingProxyType({current(name).full_name.rpartition(".")[2]: name for name in NAMES})


def structure(schema: Any) -> Any:
    """Return a schema without its documentation.

    It holds more than the fingerprint covers, which leaves out defaults and aliases.
    """
    match schema:
        case dict():
            return {key: structure(part) for key, part in schema.items() if key != "doc"}
        case list():
            return [structure(part) for part in schema]
        case _:
            return schema


def crc64_avro(schema: Any) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema as 8 bytes, little-endian.

    Source: Avro 1.12 specification, "Schema Fingerprints".
    """
    canonical = to_parsing_canonical_form(schema)
    return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _schema(name: str, version: int, text: str) -> Schema:
    raw = json.loads(text)
    parsed = _with_defaults(parse_schema(raw))
    assert isinstance(parsed, dict)  # noqa: S101 - every file of ours is a record
    return Schema(name, version, parsed["name"], text, parsed, crc64_avro(raw))


def _with_defaults(parsed: Any) -> Any:
    """Return a parsed schema whose defaults of bytes are bytes.

    In a schema they are text, each character a byte (Avro 1.12 specification, "Complex Types",
    "Records"), and fastavro would hand out that text.
    """
    match parsed:
        case {"type": "bytes", "default": str(text), **rest}:
            return {"type": "bytes", "default": text.encode("latin-1"), **rest}
        case dict():
            return {key: _with_defaults(part) for key, part in parsed.items()}
        case list():
            return [_with_defaults(part) for part in parsed]
        case _:
            return parsed
