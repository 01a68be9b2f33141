"""The generated records are all there are, and no field of them is always the same."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streams import wire
from streams.fold import stored
from tests.strategies import RECORDS, field_names, of_type, records

EXAMPLES = 150


def encoders() -> Iterator[tuple[str, type]]:
    """Yield the functions that encode a record, and what they encode."""
    modules = [
        importlib.import_module(f"{wire.__name__}.{found.name}")
        for found in pkgutil.iter_modules(wire.__path__)
    ]
    for module in (*modules, stored):
        for name, function in vars(module).items():
            if name.startswith("encode_") and function.__module__ == module.__name__:
                first: Any = next(iter(get_type_hints(function).values()))
                if dataclasses.is_dataclass(first):
                    yield name, cast(type, first)


def test_every_record_that_is_encoded_is_generated():
    found = dict(encoders())

    assert len(found) >= 10
    assert set(found.values()) <= RECORDS.keys()


def values_of(value: Any, seen: defaultdict[tuple[type, str], set[str]]) -> None:
    """Add what the fields of a record, and of those in it, have to what was seen of them."""
    cls = type(value)
    if dataclasses.is_dataclass(cls) or hasattr(cls, "_fields"):
        for name in field_names(cls):
            part = getattr(value, name)
            seen[cls, name].add(repr(part))
            values_of(part, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            values_of(key, seen)
            values_of(part, seen)
    elif isinstance(value, list | tuple):
        for part in value:
            values_of(part, seen)


def constant_fields(strategy: st.SearchStrategy[Any]) -> list[str]:
    """Return the fields of generated records that never differ, or never from their default."""
    seen: defaultdict[tuple[type, str], set[str]] = defaultdict(set)

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        values_of(value, seen)

    collect()
    return [f"{cls.__name__}.{name}" for (cls, name), values in seen.items() if len(values) < 2]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_field_of_a_record_varies(cls):
    assert constant_fields(RECORDS[cls]) == []


@dataclasses.dataclass
class Inner:
    kept: int = 0
    ignored: int = 0


@dataclasses.dataclass
class Outer:
    inner: tuple[Inner, ...]


def test_a_field_that_is_left_at_its_default_is_found():
    incomplete = st.builds(Outer, st.tuples(st.builds(Inner, kept=st.integers())))

    assert constant_fields(incomplete) == ["Inner.ignored"]
    assert constant_fields(records(Outer)) == []


def test_a_type_without_a_rule_and_a_rule_without_a_field_are_refused():
    with pytest.raises(TypeError, match="complex"):
        of_type(dict[str, complex])
    with pytest.raises(TypeError, match="Inner has no gone"):
        records(Inner, gone=st.integers())
