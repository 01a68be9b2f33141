"""Detection of losses when a record is written in an older version of its schema.

Until every reader reads the newest version, an older one is written (`Codec.write`). A field that
the older version lacks may be left out if it has its default, which a reader gets back, or if its
schema has `"droppable": true`. With any other value the record cannot be written until the newer
version is enabled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Loss = Callable[[Any, str], Iterator[str]]
"""Function of a value and its path that yields the paths of the fields that would be lost."""


def loss_of(newer: Any, older: Any) -> Loss | None:
    """Return the function that finds what a record of `newer` loses in `older`; None if nothing.

    Args:
        newer, older: Parsed schemas of one record, the newer one with all fields of the older one.
    """
    return _loss(newer, older, _named(newer, {}), _named(older, {}))


def _loss(
    newer: Any, older: Any, newer_names: Mapping[str, Any], older_names: Mapping[str, Any]
) -> Loss | None:
    newer, older = _resolved(newer, newer_names), _resolved(older, older_names)
    if isinstance(newer, list):
        return _of_union(newer, older, newer_names, older_names)
    if not isinstance(newer, dict) or not isinstance(older, dict):
        return None
    match newer["type"]:
        case "record":
            return _of_record(newer, older, newer_names, older_names)
        case "array":
            items = _loss(newer["items"], older["items"], newer_names, older_names)
            return None if items is None else _of_items(items)
        case "map":
            values = _loss(newer["values"], older["values"], newer_names, older_names)
            return None if values is None else _of_values(values)
        case _:
            return None


def _of_record(
    newer: Any, older: Any, newer_names: Mapping[str, Any], older_names: Mapping[str, Any]
) -> Loss | None:
    kept = {field["name"]: field for field in older["fields"]}
    dropped: list[tuple[str, Any]] = []
    inner: list[tuple[str, Loss]] = []
    for field in newer["fields"]:
        name = field["name"]
        if name not in kept:
            if not field.get("droppable", False):
                dropped.append((name, field["default"]))
            continue
        loss = _loss(field["type"], kept[name]["type"], newer_names, older_names)
        if loss is not None:
            inner.append((name, loss))
    if not dropped and not inner:
        return None

    def find(record: Any, path: str) -> Iterator[str]:
        for name, default in dropped:
            if record.get(name, default) != default:
                yield f"{path}.{name}"
        for name, loss in inner:
            if name in record:
                yield from loss(record[name], f"{path}.{name}")

    return find


def _of_items(items: Loss) -> Loss:
    def find(values: Any, path: str) -> Iterator[str]:
        for index, value in enumerate(values):
            yield from items(value, f"{path}[{index}]")

    return find


def _of_values(of_value: Loss) -> Loss:
    def find(values: Any, path: str) -> Iterator[str]:
        for key, value in values.items():
            yield from of_value(value, f"{path}.{key}")

    return find


def _of_union(
    newer: list[Any],
    older: Any,
    newer_names: Mapping[str, Any],
    older_names: Mapping[str, Any],
) -> Loss | None:
    """Return the losses of the record of a union of null and one other type."""
    branches = older if isinstance(older, list) else [older]
    pairs = [
        (new, old)
        for new in (_resolved(branch, newer_names) for branch in newer)
        for old in (_resolved(branch, older_names) for branch in branches)
        if isinstance(new, dict) and isinstance(old, dict) and new["type"] == old["type"]
    ]
    losses = [_loss(new, old, newer_names, older_names) for new, old in pairs]
    found = [loss for loss in losses if loss is not None]
    if not found:
        return None

    def find(value: Any, path: str) -> Iterator[str]:
        if value is not None:
            yield from found[0](value, path)

    return find


def _named(schema: Any, names: dict[str, Any]) -> dict[str, Any]:
    """Return every record of a schema by its full name; a type is named again where it is used."""
    match schema:
        case dict():
            if "name" in schema and "fields" in schema:
                names[schema["name"]] = schema
            for part in schema.values():
                _named(part, names)
        case list():
            for part in schema:
                _named(part, names)
        case _:
            pass
    return names


def _resolved(schema: Any, names: Mapping[str, Any]) -> Any:
    return names.get(schema, schema) if isinstance(schema, str) else schema
