"""Scalars compared: the tolerances, and what has none."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay.difference import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, compare


@dataclass(frozen=True)
class Inner:
    values: dict[str, Any]


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]


def path(live: Any, replayed: Any) -> str | None:
    wrapped = [Outer((Inner({"x": 1}), Inner({"x": each}))) for each in (live, replayed)]
    found = compare("here", "it", *wrapped)
    return None if found is None else found.path


@pytest.mark.parametrize(
    ("live", "replayed"),
    [
        (1, 1),
        (0.5, 0.5),
        (0.5, math.nextafter(0.5, 1.0)),
        (1e9, 1e9 + 0.5),
        (0.0, -0.0),
        (0.0, 9e-13),
        (math.nan, math.nan),
        (math.inf, math.inf),
        ("A", "A"),
        (None, None),
        ((1, 2), [1, 2]),
    ],
)
def test_no_difference(live, replayed):
    assert path(live, replayed) is None


@pytest.mark.parametrize(
    ("live", "replayed"),
    [
        (1, 2),
        (2**53, 2**53 + 1),
        (10**30, 10**30 + 1),
        (0.5, 0.5 * (1.0 + 1e-6)),
        (0.0, 2e-12),
        (1, 1.5),
        (2, 2.0 + 1e-12),
        (True, 2),
        (math.nan, 0.0),
        (math.inf, -math.inf),
        ("A", "B"),
        (0, None),
        (0.0, None),
        ((1, 2), (1, 2, 3)),
        ({"a": 1}, {"b": 1}),
    ],
)
def test_a_difference_has_its_path(live, replayed):
    found = path(live, replayed)
    assert found is not None
    assert found.startswith("inner[1].values.x")
    assert path(replayed, live) is not None


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(value=finite, other=finite)
def test_floats_are_the_same_within_the_tolerance_and_only_then(value, other):
    limit = max(RELATIVE_TOLERANCE * max(abs(value), abs(other)), ABSOLUTE_TOLERANCE)

    assert (path(value, other) is None) == (abs(value - other) <= limit)


@given(value=st.integers(), off=st.integers(1, 5))
def test_integers_have_no_tolerance(value, off):
    assert path(value, value) is None
    assert path(value, value + off) == "inner[1].values.x"
