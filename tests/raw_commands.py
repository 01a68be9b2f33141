"""Records of commands with any bytes as payload, also such as no encoder writes."""

from __future__ import annotations

from streams.model.events import Command
from streams.wire.commands import encode_command

_NO_ORIGIN = b"\0\0\0"
"""Author, reason and expected version of a command that has none of them."""

_REST = b"\x04{}" + _NO_ORIGIN
"""Payload and all that follows it of such a command."""


def with_payload(command: Command, payload: bytes) -> bytes:
    """Return the record of a command that has a payload and no field after it."""
    record = encode_command(command)
    assert record.endswith(_REST)
    return record.removesuffix(_REST) + _long(len(payload)) + payload + _NO_ORIGIN


def _long(number: int) -> bytes:
    number <<= 1
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
