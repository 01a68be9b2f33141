"""Comparison of two values: integers and texts exactly, floats within a tolerance.

Values hold no sentences: those are rendered from codes and numbers, and so are never compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pydantic import BaseModel

RELATIVE_TOLERANCE = 1e-9
"""Difference of two floats, over the larger of them, that another processor or version of a library
may cause by rounding."""

ABSOLUTE_TOLERANCE = 1e-12
"""Largest difference of two floats near 0 that is ignored, in the unit of the value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first value that differs.

    Attributes:
        place: Where the live value is, as in `tallies/3@1200` or `redis`.
        subject: What it is about, as in `exp_0000000000007/impressions/2`.
        path: Field that differs, as in `variants[1].metrics.click.total`; empty for the whole.
        live: The live value, as text; None when it is missing.
        replayed: What the replay came to, as text; None when it came to none.
    """

    place: str
    subject: str
    path: str
    live: str | None
    replayed: str | None


def compare(place: str, subject: str, live: Any, replayed: Any) -> Difference | None:
    """Return the first difference of two values; None if they are equal.

    Args:
        place: Where the live value is.
        subject: What it is about.
        live: The live value: dataclasses, models, mappings and sequences down to scalars.
        replayed: The replayed value.
    """
    found = None if live == replayed else _first("", live, replayed)
    if found is None:
        return None
    path, left, right = found
    return Difference(place, subject, path, _text(left), _text(right))


_MISSING = object()


def _first(path: str, left: Any, right: Any) -> tuple[str, Any, Any] | None:
    """Return (path, left, right) of the first leaf that differs, depth first."""
    for name, a, b in _members(left, right):
        member = name if name.startswith("[") or not path else f".{name}"
        if found := _first(path + member, a, b):
            return found
    if _is_inner(left) and _is_inner(right):
        return None
    return None if _is_same(left, right) else (path, left, right)


def _is_same(left: Any, right: Any) -> bool:
    """Return whether two scalars are the same; an integer is not the same as a float."""
    if isinstance(left, float) and isinstance(right, float):
        is_close = math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
        return is_close or (math.isnan(left) and math.isnan(right))
    if isinstance(left, int | float) or isinstance(right, int | float):
        return type(left) is type(right) and bool(left == right)
    return bool(left == right)


def _is_inner(value: Any) -> bool:
    return isinstance(value, (Mapping, BaseModel, list, tuple)) or is_dataclass(value)


def _members(left: Any, right: Any) -> list[tuple[str, Any, Any]]:
    a, b = _as_mapping(left), _as_mapping(right)
    if a is not None and b is not None:
        names = dict.fromkeys((*a, *b))
        return [
            (
                f"[{name}]" if isinstance(name, int) else str(name),
                a.get(name, _MISSING),
                b.get(name, _MISSING),
            )
            for name in names
        ]
    return []


def _as_mapping(value: Any) -> Mapping[Any, Any] | None:
    match value:
        case Mapping():
            return value
        case BaseModel():
            return value.model_dump(by_alias=True, mode="json")
        case str() | bytes():
            return None
        case Sequence():
            return dict(enumerate(value))
        case _ if is_dataclass(value):
            return {each.name: getattr(value, each.name) for each in fields(value)}
        case _:
            return None


def _text(value: Any) -> str | None:
    return None if value is _MISSING else str(value)
