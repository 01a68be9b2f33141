"""Bodies, decoded: what is wrong is named, at a cost in proportion to what was sent."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.bodies import gunzip
from api.strict_json import decode_json, path_of_not_finite
from streams.model.errors import PATH_CHARACTERS, InputError

MIB = 2**20
FINITE = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    FINITE | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


def first_by_recursion(value: Any, path: str = "") -> str | None:
    """The oracle: the path of the first number that is not finite, depth first."""
    match value:
        case float() if not math.isfinite(value):
            return path
        case dict():
            members = [(f"{path}{'.' if path else ''}{key}", value[key]) for key in value]
        case list():
            members = [(f"{path}[{index}]", member) for index, member in enumerate(value)]
        case _:
            return None
    found = (first_by_recursion(member, below) for below, member in members)
    return next((each for each in found if each is not None), None)


@given(VALUES)
def test_the_path_of_a_nan_is_that_of_the_first(value: Any) -> None:
    expected = first_by_recursion(value)

    found = path_of_not_finite(value)

    if expected is None or len(expected) <= PATH_CHARACTERS:
        assert found == expected
    else:
        assert found is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"%b": [%b NaN]}' % (b"k" * 30_000, b"0," * 15_000),
        b'{"%b": [%b NaN]}' % (b"k" * (MIB // 2), b"0," * (MIB // 4)),
        b'{"a":' * 900 + b"NaN" + b"}" * 900,
        b"[" + b"[0]," * (MIB // 4) + b"NaN]",
    ],
    ids=["58 kB", "1 MiB", "deep", "wide"],
)
def test_the_path_of_a_nan_costs_time_and_memory_in_proportion(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            decode_json(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert caught.value.code == "NOT_FINITE"
    assert len(caught.value.path) <= PATH_CHARACTERS
    assert most < 40 * len(body) + MIB


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_an_error_with_a_code(body: bytes) -> None:
    try:
        value = decode_json(body)
    except InputError as error:
        json.dumps([error.code, error.message, error.path]).encode()
    else:
        assert path_of_not_finite(value) is None


@pytest.mark.parametrize("body", [b"1" * 5_000, b"-" * 500_000, b'{"a":' * 100_000, b'"\\ud800"'])
def test_what_python_alone_would_stumble_over_is_invalid_json(body: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decode_json(body)
    assert caught.value.code == "INVALID_JSON"


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    import zlib  # noqa: PLC0415 - made here, in parts, since it would not fit otherwise

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * MIB) for _ in range(100)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            gunzip(bomb, MIB)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bomb) < 0.11 * MIB
    assert most < 4 * MIB  # of 100
