"""Nothing that was sent commands a terminal or forges a line of a log."""

from __future__ import annotations

import logging

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.text import LINE_BREAK, has_controls, json_printable, printable
from streams.process.logs import FORMAT, EscapingFormatter

HOSTILE = "x\x1b[2J\x1b]0;owned\x07\r\n2026-01-01 INFO api: forged\x9b31m\u202eabc\u2028"


def record_of(message: str, *args: object, error: BaseException | None = None) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("api", logging.INFO, "f", 1, message, args, info)
    return EscapingFormatter(FORMAT).format(record)


def int_of(text: str) -> int:
    raise ValueError(text)


@given(text=st.text())
def test_a_message_is_one_printable_line_whatever_it_quotes(text: str) -> None:
    line = record_of("%s", text)

    assert line.isprintable()
    assert line.endswith(printable(text))


def test_the_lines_of_a_traceback_cannot_be_taken_for_records() -> None:
    with pytest.raises(ValueError, match="forged") as caught:
        int_of(HOSTILE)
    lines = record_of("failed", error=caught.value).split(LINE_BREAK)

    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert sum("forged" in line for line in lines) >= 1


@given(text=st.text())
def test_json_keeps_its_value_in_printable_characters(text: str) -> None:
    spelled = json_printable(orjson.dumps({"a": printable(text) + "\x9b\U000e0001"}).decode())

    assert spelled.isprintable()
    assert orjson.loads(spelled)["a"] == printable(text) + "\x9b\U000e0001"


@pytest.mark.parametrize("text", ["a\x00", "\x1b[31m", "\x9b", "a\nb", "\u202e", "\u2028", "\x7f"])
def test_controls_are_found(text: str) -> None:
    assert has_controls(text)


@pytest.mark.parametrize("text", ["Größe 10", "広告", "a\u00a0b", "👩\u200d🚀", ""])
def test_ordinary_names_have_none(text: str) -> None:
    assert not has_controls(text)
