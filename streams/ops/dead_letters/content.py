"""The bytes of a record as a person can read them."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from schemas.codec import Codec
from schemas.errors import RecordError
from streams.wire.records import SINGLE_OBJECT

_ROW = 16


def readable(value: bytes, codec: Codec = SINGLE_OBJECT) -> str:
    r"""Return a record as JSON when it is JSON or Avro of a known schema, as text, or in hex.

    >>> readable(b'{"metric":"click"}')
    '{\n  "metric": "click"\n}'
    >>> readable(b"\x00\xffA")
    '00000000  00 ff 41                                         ..A'
    """
    try:
        return _json(orjson.loads(value))
    except orjson.JSONDecodeError:
        pass
    try:
        name, record = codec.decode(value)
    except RecordError:
        return _text(value) or hex_dump(value)
    return _json({name: record})


def hex_dump(value: bytes) -> str:
    """Return offset, bytes and characters of every 16 bytes, a line each."""
    lines = []
    for start in range(0, len(value), _ROW):
        row = value[start : start + _ROW]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004 - ASCII
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {shown}")
    return "\n".join(lines)


def _text(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    # Control characters of an untrusted record must not reach a terminal.
    return text if text.replace("\n", " ").replace("\t", " ").isprintable() else None


def _json(value: Any) -> str:
    return orjson.dumps(value, default=_unknown, option=orjson.OPT_INDENT_2).decode()


def _unknown(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
