"""Shared parts of the codecs: errors, bounds, and values that Avro has no type for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import orjson

from schemas.catalogue import EVENT_BYTES
from schemas.codec import Codec, Record
from schemas.errors import RecordError
from streams.model.errors import EventError, InputError

SINGLE_OBJECT = Codec()
"""Codec of a process without a schema registry; with a registry, `Framing` has the codec."""

TIME_LIMIT_MS = 1 << 48
"""Times lie in [0, this): milliseconds since the epoch, as many as a receipt can carry."""

INT_LIMIT = 1 << 31
"""An Avro `int` is below this."""

LONG_LIMIT = 1 << 63
"""An Avro `long` is below this."""

INCARNATION_DIGITS = 16

UNDECODABLE = "UNDECODABLE_RECORD"
TOO_LARGE = "RECORD_TOO_LARGE"

MAX_JSON_DEPTH = 64
"""Deepest nesting of JSON in a record: a definition needs 35, by a rule of 16 operators that is an
object and a list for each, and writers of JSON stop at 254."""

E = TypeVar("E", bound=StrEnum)


@contextmanager
def event_errors() -> Iterator[None]:
    """Convert any exception of the block into an `EventError`, with the same code if it has one.

    Decoders run in it, so an unexpected exception is an error of the record
    (`UNDECODABLE_RECORD`) and cannot end the process.
    """
    try:
        yield
    except Exception as error:
        raise event_error(error) from error


def event_error(error: Exception) -> EventError:
    """Return the `EventError` of an exception that reading a record raised."""
    match error:
        case EventError():
            return error
        case InputError():
            return EventError(error.code, error.message, error.path)
        case RecordError():
            return EventError(error.code, str(error))
        case _:
            return EventError(UNDECODABLE, f"cannot be read: {type(error).__name__}")


def check_size(value: bytes | None, limit: int = EVENT_BYTES) -> None:
    """Refuse a value that is larger than any uncompressed record of its topic, before decoding.

    A broker bounds what it stores, and that may be compressed a thousand times. Producers bound a
    record before they compress it, at 1 MB by default, and ours do.

    Raises:
        EventError: the value is larger (`RECORD_TOO_LARGE`).
    """
    if value is not None and len(value) > limit:
        raise EventError(TOO_LARGE, f"{len(value)} bytes, must be <= {limit}")


def read(name: str, value: bytes | None, codec: Codec, limit: int = EVENT_BYTES) -> Record:
    """Return the record of schema `name` in `value`.

    Args:
        name: Name of the schema.
        value: The bytes; None of a tombstone.
        codec: How records are framed.
        limit: Bytes that are decoded at most.

    Raises:
        EventError: the value is not such a record (`UNDECODABLE_RECORD`, `UNKNOWN_SCHEMA`,
            `UNEXPECTED_SCHEMA`), or is larger than `limit` (`RECORD_TOO_LARGE`).
    """
    with event_errors():
        check_size(value, limit)
        return codec.decode_as(name, value)


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
        EventError: it is not JSON (`INVALID_JSON`), not an object (`WRONG_TYPE`), or nested deeper
            than `MAX_JSON_DEPTH` (`TOO_DEEP`).
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EventError("INVALID_JSON", f"not JSON: {error}", path) from error
    if not isinstance(value, dict):
        raise EventError("WRONG_TYPE", "not a JSON object", path)
    if not is_shallow(value):
        raise EventError("TOO_DEEP", f"nested deeper than {MAX_JSON_DEPTH} levels", path)
    return value


def is_shallow(value: Any, depth: int = MAX_JSON_DEPTH) -> bool:
    """Return whether a JSON value is nested no deeper than `depth`; a scalar has depth 0.

    >>> is_shallow([[1], {}], 2), is_shallow([[1], {"a": []}], 2), is_shallow(1, 0)
    (True, False, True)
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        level = [
            member
            for each in level
            for member in (each.values() if isinstance(each, dict) else each)
            if isinstance(member, dict | list)
        ]
        if not level:
            return True
    return not level


def member(kind: type[E], text: str, path: str) -> E:
    """Return the member of an enumeration that `text` names.

    Raises:
        EventError: no such member exists (`UNKNOWN_VALUE`).
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
