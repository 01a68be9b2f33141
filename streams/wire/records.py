"""What every module here shares: the codec, the errors' translation, and the values Avro lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import orjson

from schemas.codec import Codec, Record
from schemas.errors import RecordError
from streams.domain.errors import EventError, InputError

SINGLE_OBJECT = Codec()
"""Codec of every process without a schema registry; with one, pass a codec of your own instead."""

MAX_INTEGER_BYTES = 64
"""Longest integer that is read; sums of squares over 2**60 units need 33 bytes."""

TIME_LIMIT_MS = 1 << 48
"""Times lie in [0, this): milliseconds since the epoch, as many as a receipt can carry."""

INCARNATION_DIGITS = 16

E = TypeVar("E", bound=StrEnum)


@contextmanager
def event_errors() -> Iterator[None]:
    """Turn what is wrong with a record or its fields into an `EventError` of the same code."""
    try:
        yield
    except EventError:
        raise
    except InputError as error:
        raise EventError(error.code, error.message, error.path) from error
    except RecordError as error:
        raise unreadable(error) from error


def unreadable(error: RecordError) -> EventError:
    """Return the event's error of a record that cannot be read."""
    return EventError(error.code, str(error))


def read(name: str, value: bytes | None, codec: Codec) -> Record:
    """Return the record of schema `name` in `value`.

    Raises:
        EventError: there is none (`UNDECODABLE_RECORD`, `UNKNOWN_SCHEMA`, `UNEXPECTED_SCHEMA`).
    """
    try:
        return codec.decode_as(name, value)
    except RecordError as error:
        raise unreadable(error) from error


def integer_bytes(number: int) -> bytes:
    r"""Return an integer in two's complement, big-endian, of minimal length.

    The inverse is `integer`. There is one such form, so equal integers give equal bytes.

    >>> integer_bytes(0), integer_bytes(-128), integer_bytes(128)
    (b'\x00', b'\x80', b'\x00\x80')
    """
    # -2**(8k-1) fits into k bytes and 2**(8k-1) does not, hence the 1 added to negative ones.
    size = (number + (number < 0)).bit_length() // 8 + 1
    return number.to_bytes(size, "big", signed=True)


def integer(data: bytes, path: str) -> int:
    """Return the integer behind `integer_bytes`.

    Raises:
        EventError: there are no bytes, or more than `MAX_INTEGER_BYTES` (`OUT_OF_RANGE`).
    """
    if not 1 <= len(data) <= MAX_INTEGER_BYTES:
        raise EventError(
            "OUT_OF_RANGE", f"{len(data)} bytes, must be 1 to {MAX_INTEGER_BYTES}", path
        )
    return int.from_bytes(data, "big", signed=True)


def incarnation_text(number: int) -> str:
    """Return the text of an incarnation, an integer in [0, 2**64)."""
    return f"{number:0{INCARNATION_DIGITS}x}"


def incarnation(text: str) -> int:
    """Return the incarnation in `text`; the inverse of `incarnation_text`.

    Raises:
        EventError: it is not 16 lower-case hexadecimal digits (`WRONG_TYPE`).
    """
    try:
        number = int(text, 16) if len(text) == INCARNATION_DIGITS else -1
    except ValueError:
        number = -1
    # int() takes signs, capitals and underscores too, and then the sender has a second name.
    if number < 0 or incarnation_text(number) != text:
        raise EventError("WRONG_TYPE", "not 16 lower-case hexadecimal digits", "incarnation")
    return number


def json_text(value: Mapping[str, Any]) -> str:
    """Return a JSON-like mapping as text, its keys in their order."""
    return orjson.dumps(dict(value)).decode()


def json_object(text: str, path: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        EventError: it is not JSON (`INVALID_JSON`) or not an object (`WRONG_TYPE`).
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EventError("INVALID_JSON", f"not JSON: {error}", path) from error
    if not isinstance(value, dict):
        raise EventError("WRONG_TYPE", "not a JSON object", path)
    return value


def member(kind: type[E], text: str, path: str) -> E:
    """Return the member of an enumeration that `text` names.

    Raises:
        EventError: there is none (`UNKNOWN_VALUE`).
    """
    try:
        return kind(text)
    except ValueError as error:
        known = ", ".join(kind)
        raise EventError("UNKNOWN_VALUE", f"must be one of {known}", path) from error


def check_range(value: int, low: int, high: int, path: str) -> int:
    """Return `value`, an integer that must lie in [low, high).

    Raises:
        EventError: it lies outside (`OUT_OF_RANGE`).
    """
    if low <= value < high:
        return value
    raise EventError("OUT_OF_RANGE", f"{path} == {value}, must be in [{low}, {high})", path)
