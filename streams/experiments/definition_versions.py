"""Later fields of definitions: omitted at their default, refused until all processes read them.

A definition travels as JSON in commands, snapshots and table entries, and a reader refuses a field
that it does not know. So a field that comes with a later version carries that version,

    warm_up_s: int = Field(default=0, ge=0, json_schema_extra={SINCE: 2})

is not written where it has its default, and can be used once `definition` is enabled up to that
version (`experiment schemas enable`). Its default never changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

DEFINITION = "definition"
"""Name of definitions among the schemas."""

DEFINITION_VERSION = 1
"""Newest version of definitions: the largest that a field carries. The first release has 1."""

SINCE = "x-since-version"
"""Key of a field's `json_schema_extra` with the version that it came with; without one it is 1."""


class VersionedField(NamedTuple):
    """A field in use that came after the first version."""

    path: str
    version: int


def later_fields(model: BaseModel) -> list[VersionedField]:
    """Return the fields that came later and do not have their default."""
    return [VersionedField(path, since) for path, since, is_used in _later(model, "") if is_used]


def version_of(model: BaseModel) -> int:
    """Return the lowest version of definitions that can hold `model`."""
    return max((field.version for field in later_fields(model)), default=1)


def unused(model: BaseModel) -> dict[Any, Any] | None:
    """Return what to pass as `exclude` when `model` is dumped; None for nothing."""
    found: dict[Any, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if _since(field) > 1 and value == field.get_default(call_default_factory=True):
            found[name] = True
        elif (inner := _unused_within(value)) is not None:
            found[name] = inner
    return found or None


def _unused_within(value: Any) -> dict[Any, Any] | None:
    match value:
        case BaseModel():
            return unused(value)
        case Mapping():
            parts = value.items()
        case list() | tuple():
            parts = enumerate(value)  # type: ignore[assignment]
        case _:
            return None
    found = {key: inner for key, part in parts if (inner := _unused_within(part)) is not None}
    return found or None


def _later(value: Any, path: str) -> Iterator[tuple[str, int, bool]]:
    match value:
        case BaseModel():
            for name, field in type(value).model_fields.items():
                inner = getattr(value, name)
                place = f"{path}.{field.alias or name}" if path else field.alias or name
                if (since := _since(field)) > 1:
                    default = field.get_default(call_default_factory=True)
                    yield place, since, inner != default
                yield from _later(inner, place)
        case Mapping():
            for key, inner in value.items():
                yield from _later(inner, f"{path}.{key}")
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from _later(inner, f"{path}[{index}]")
        case _:
            return


def _since(field: Any) -> int:
    extra = field.json_schema_extra
    return int(extra.get(SINCE, 1)) if isinstance(extra, dict) else 1
