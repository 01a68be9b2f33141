"""Schemas of other writers: which of them can be read at a cost that the bytes of a record bound.

A registry is shared, so a schema under an id may be anything that Avro allows. fastavro reads
nested records by recursion in C, without a check of the stack, and takes the count of an array's
block as the record states it. A recursive type, or an array whose items take no bytes, would let
one small record end the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_SCHEMA_CHARACTERS = 262_144
"""Longest schema that is learned, as JSON; the largest of ours has some 12,000 characters."""

MAX_SCHEMA_DEPTH = 32
"""Deepest nesting of types in a schema that is learned; the deepest of ours has 5."""

_ANNOTATIONS = frozenset({"logicalType", "precision", "scale"})


def readable_schema(text: str) -> Any:
    """Return a writer's schema without logical types, as fastavro parses it.

    Raises:
        ValueError: it is too large, nested too deeply, recursive, or has an array whose items may
            take no bytes.
        RecursionError, KeyError, TypeError: it is not a schema.
    """
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise ValueError
    schema = _plain(json.loads(text))
    _Check().least_bytes(schema, "", MAX_SCHEMA_DEPTH)
    return schema


def _plain(schema: Any) -> Any:
    """Return a schema without the annotations of logical types."""
    match schema:
        case dict():
            kept = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
            # A default may be any JSON; only types are schemas.
            return {
                key: value if key == "default" else _plain(value) for key, value in kept.items()
            }
        case list():
            return [_plain(each) for each in schema]
        case _:
            return schema


class _Check:
    """Least number of bytes that a value of each type takes."""

    def __init__(self) -> None:
        self._named: dict[str, int | None] = {}  # None while its own fields are looked at

    def least_bytes(self, schema: Any, namespace: str, depth: int) -> int:
        """Return the least number of bytes of a value; see `readable_schema` for the exceptions."""
        if depth == 0:
            raise ValueError
        match schema:
            case str():
                return self._least_of_name(schema, namespace)
            case list():
                branches = [self.least_bytes(each, namespace, depth - 1) for each in schema]
                return 1 + min(branches)
            case {"type": "array" | "map" as kind}:
                items = schema["items" if kind == "array" else "values"]
                if self.least_bytes(items, namespace, depth - 1) + (kind == "map") == 0:
                    raise ValueError
                return 1
            case {"type": "fixed" | "enum" | "record" | "error" as kind}:
                return self._least_of_named(kind, schema, namespace, depth)
            case dict():
                return self.least_bytes(schema["type"], namespace, depth - 1)
            case _:
                raise TypeError

    def _least_of_name(self, name: str, namespace: str) -> int:
        if name in _PRIMITIVES:
            return _PRIMITIVES[name]
        known = self._named[_full_name(name, namespace)]
        if known is None:
            raise ValueError  # recursive
        return known

    def _least_of_named(
        self, kind: str, schema: Mapping[str, Any], namespace: str, depth: int
    ) -> int:
        full = _full_name(schema["name"], schema.get("namespace", namespace))
        if kind == "fixed":
            least = int(schema["size"])
        elif kind == "enum":
            least = 1
        else:
            self._named[full] = None
            inner = full.rpartition(".")[0]
            least = sum(
                self.least_bytes(field["type"], inner, depth - 1) for field in schema["fields"]
            )
        self._named[full] = least
        return least


_PRIMITIVES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}


def _full_name(name: str, namespace: str | None) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
