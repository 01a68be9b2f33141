"""Validation of foreign writer schemas: the bytes of a record must bound the cost of reading it.

A registry is shared, so a schema under an id may be anything that Avro allows. fastavro reads
nested records by recursion in C, without a check of the stack, and takes the count of an array's
block as the record states it. A recursive type, an array whose items take no bytes, or types that
name each other twice, thirty times over, would let one small record end the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_SCHEMA_CHARACTERS = 262_144
"""Longest schema that is accepted, as JSON; the largest of the library has some 20,000."""

MAX_SCHEMA_DEPTH = 32
"""Deepest nesting of types that is accepted; the deepest of the library has 5."""

MAX_VALUES = 10_000
"""Most values in a record, without the items of its arrays and maps. Types are referred to by name,
so a schema of a few kilobytes could have any number of values, and null values take no bytes."""

MAX_VALUES_OF_BYTE = 16
"""Most values in an item of an array or map for each byte that the item takes at least. Items of
the library have 2."""

_ANNOTATIONS = frozenset({"logicalType", "precision", "scale"})


def readable_schema(text: str) -> Any:
    """Return a writer's schema without logical types, as fastavro parses it.

    Raises:
        ValueError: the schema is too large, nested too deeply, recursive, has too many values in a
            record, or an array whose items may have too many for their bytes.
        RecursionError, KeyError, TypeError: the text is not a schema.
    """
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise ValueError
    schema = _plain(json.loads(text))
    _Check().cost(schema, "", MAX_SCHEMA_DEPTH)
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


class _Cost(NamedTuple):
    """Bounds of the size of a value of a type.

    Attributes:
        least: Fewest bytes.
        values: Most values, itself included, without the items of arrays and maps.
    """

    least: int
    values: int


class _Check:
    """Costs of the named types of a schema, by full name."""

    def __init__(self) -> None:
        self._named: dict[str, _Cost | None] = {}  # None while its own fields are looked at

    def cost(self, schema: Any, namespace: str, depth: int) -> _Cost:
        """Return the cost of a value; see `readable_schema` for the exceptions."""
        if depth == 0:
            raise ValueError
        match schema:
            case str():
                return self._cost_of_name(schema, namespace)
            case list():
                branches = [self.cost(each, namespace, depth - 1) for each in schema]
                return _Cost(
                    1 + min(least for least, _ in branches),
                    _bounded(max(values for _, values in branches)),
                )
            case {"type": "array" | "map" as kind}:
                items = schema["items" if kind == "array" else "values"]
                least, values = self.cost(items, namespace, depth - 1)
                if values > MAX_VALUES_OF_BYTE * (least + (kind == "map")):
                    raise ValueError
                return _Cost(1, 1)
            case {"type": "fixed" | "enum" | "record" | "error" as kind}:
                return self._cost_of_named(kind, schema, namespace, depth)
            case dict():
                return self.cost(schema["type"], namespace, depth - 1)
            case _:
                raise TypeError

    def _cost_of_name(self, name: str, namespace: str) -> _Cost:
        if name in _PRIMITIVES:
            return _Cost(_PRIMITIVES[name], 1)
        known = self._named[_full_name(name, namespace)]
        if known is None:
            raise ValueError  # recursive
        return known

    def _cost_of_named(
        self, kind: str, schema: Mapping[str, Any], namespace: str, depth: int
    ) -> _Cost:
        full = _full_name(schema["name"], schema.get("namespace", namespace))
        if kind == "fixed":
            found = _Cost(int(schema["size"]), 1)
        elif kind == "enum":
            found = _Cost(1, 1)
        else:
            self._named[full] = None
            inner = full.rpartition(".")[0]
            fields = [self.cost(each["type"], inner, depth - 1) for each in schema["fields"]]
            found = _Cost(
                sum(least for least, _ in fields),
                _bounded(1 + sum(values for _, values in fields)),
            )
        self._named[full] = found
        return found


def _bounded(values: int) -> int:
    if values > MAX_VALUES:
        raise ValueError
    return values


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
