"""Two values compared by the bytes they are written as, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as it should be.

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


def compare(
    place: str, subject: str, live: T, replayed: T, encode: Callable[[T], bytes]
) -> Difference | None:
    """Return the first difference of two values; None when their bytes are equal.

    Args:
        place: Where the live value is.
        subject: What it is about.
        live: The live value.
        replayed: The replayed value.
        encode: Equal values give equal bytes.
    """
    if encode(live) == encode(replayed):
        return None
    path, left, right = _first("", live, replayed) or ("", live, replayed)
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
    # By their text: 0.0 is not -0.0, and 1 is not 1.0.
    return None if repr(left) == repr(right) else (path, left, right)


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
