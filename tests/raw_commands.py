"""Records of commands with any bytes as payload, also such as no encoder writes."""

from __future__ import annotations

from streams.model.events import Command
from streams.wire.commands import encode_command

_REST = b"\x04{}\0\0"
"""Payload, author and reason of a command that has none."""


def with_payload(command: Command, payload: bytes) -> bytes:
    """Return the record of a command without payload, author and reason, with this payload."""
    record = encode_command(command)
    assert record.endswith(_REST)
    return record.removesuffix(_REST) + _long(len(payload)) + payload + b"\0\0"


def _long(number: int) -> bytes:
    number <<= 1
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
