"""Strategies for dataclasses, derived from their fields: a field that is added is generated."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from streams.model.published import ExactInteger, Int32, VariantIndex

counts = st.integers(0, 2**60)
numbers = st.floats(allow_nan=False)
indices = st.integers(0, 255)
_SHORT = 2

_MARKED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (VariantIndex, indices),
    (Int32, st.integers(0, 2**31 - 1)),
    (ExactInteger, st.integers(-(2**100), 2**100)),
]
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    NoneType: st.none(),
    bool: st.booleans(),
    int: counts,
    float: numbers,
    str: st.text(max_size=8),
    Any: st.none() | st.booleans() | st.text(max_size=3),
}


def values_of(model: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return any value of a dataclass, its fields by their types unless `given`."""
    hints = get_type_hints(model, include_extras=True)
    others = {each.name: _of(hints[each.name]) for each in fields(model) if each.name not in given}
    return st.builds(model, **others, **given)


def _of(hint: Any) -> st.SearchStrategy[Any]:
    for marker, strategy in _MARKED:
        if hint == marker:
            return strategy
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of(arguments[0])
    if origin in {Union, UnionType}:
        return st.one_of(*map(_of, arguments))
    if origin is tuple:
        return st.lists(_of(arguments[0]), max_size=_SHORT).map(tuple)
    if origin is dict:
        return st.dictionaries(_of(arguments[0]), _of(arguments[1]), max_size=_SHORT)
    if is_dataclass(hint) and isinstance(hint, type):
        return values_of(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    raise TypeError(f"no strategy for {hint}")
