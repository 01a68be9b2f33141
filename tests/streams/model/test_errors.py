"""Errors: bounded, printable, and the same in another process."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import (
    MESSAGE_CHARACTERS,
    PATH_CHARACTERS,
    QUOTED_CHARACTERS,
    ConfigurationError,
    DependencyError,
    EngineError,
    EventError,
    quoted,
)


@pytest.mark.parametrize(
    "error",
    [
        EventError("CODE", "message", "a.b"),
        ConfigurationError("message", "NAME"),
        DependencyError("kafka", "message", retry_after_s=7),
    ],
)
def test_pickled_it_is_the_same(error: EngineError):
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (again.args, str(again)) == (error.args, str(error))


HOSTILE = st.one_of(
    st.text(max_size=300),
    st.binary(max_size=300),
    st.floats(),
    st.integers(),
    st.integers(1, 10).map(lambda n: 10 ** (1_000 * n)),
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)


@given(HOSTILE)
def test_what_a_message_quotes_is_short_and_printable(value: object):
    text = quoted(value)

    assert text.isprintable()
    assert text.encode()
    assert len(text) <= QUOTED_CHARACTERS * len(r"\U0010ffff") + 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("click", "'click'"),
        ("\x1b]0;owned\x07", r"'\x1b]0;owned\x07'"),
        ("a\nERROR forged", r"'a\nERROR forged'"),
        ("\ud800", r"'\ud800'"),
        ("k" * 1_000_000, f"'{'k' * 64}'…"),
        (b"\x00" * 1_000_000, repr(b"\x00" * 64) + "…"),
        (None, "None"),
        (0.1, "0.1"),
    ],
)
def test_quoted_input(value: object, text: str):
    assert quoted(value) == text


def test_quoting_what_is_deep_or_cannot_be_printed_raises_nothing():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert quoted(deep) == "[[[...]]]"
    assert "Odd" in quoted(Odd())
    assert quoted(10**10_000) == "<int>"


@given(st.text(max_size=3_000), st.text(max_size=3_000))
def test_message_and_path_are_bounded_and_printable_from_any_source(message: str, path: str):
    error = EngineError("CODE", message, path)

    assert len(error.message) <= MESSAGE_CHARACTERS
    assert len(error.path) <= PATH_CHARACTERS
    assert str(error).isprintable()
    assert str(error).encode()
