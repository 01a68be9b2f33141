"""Schemas of other writers: which of them can be read at a cost that the bytes of a record bound.

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
"""Longest schema that is learned, as JSON; the largest of ours has some 12,000 characters."""

MAX_SCHEMA_DEPTH = 32
"""Deepest nesting of types in a schema that is learned; the deepest of ours has 5."""

MAX_VALUES = 10_000
"""Values that a record of a schema says at most, besides the items of its arrays and maps. Types
are referred to by name, so a schema of a few kilobytes could have any number of them, and those
that are null take no bytes."""

MAX_VALUES_OF_BYTE = 16
"""Values that an item of an array or map says at most for each byte that it takes at least. Items
of ours say 2."""

_ANNOTATIONS = frozenset({"logicalType", "precision", "scale"})


def readable_schema(text: str) -> Any:
    """Return a writer's schema without logical types, as fastavro parses it.

    Raises:
        ValueError: it is too large, nested too deeply, recursive, says too many values in one, or
            has an array whose items may say too many in their bytes.
        RecursionError, KeyError, TypeError: it is not a schema.
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
    """What a value of a type takes.

    Attributes:
        least: Bytes at least.
        values: Values in it at most, itself included and the items of arrays and maps left out.
    """

    least: int
    values: int


class _Check:
    """What values of each type take, by its full name."""

    def __init__(self) -> None:
        self._named: dict[str, _Cost | None] = {}  # None while its own fields are looked at

    def cost(self, schema: Any, namespace: str, depth: int) -> _Cost:
        """Return what a value takes; see `readable_schema` for the exceptions."""
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
