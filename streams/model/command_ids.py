"""Ids of commands: a hash of the request, under its idempotency key.

An id has 32 hexadecimal digits. The first half stands for the body of the request, the second for
the key: its caller, the key itself, the kind of the command and the experiment. So a worker that
remembers an id recognises the same request, and also another one under the same key, after a
restart and on a replay.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

_PART_BYTES = 8
_PART_DIGITS = 2 * _PART_BYTES


def keyed_command_id(body: bytes, *key: str) -> str:
    """Return the id of a command that carries an idempotency key.

    Args:
        body: The request in canonical form.
        key: Texts that the key is made of.
    """
    asked = blake2b(body, digest_size=_PART_BYTES).hexdigest()
    return asked + key_digest(*key).hex()


def key_digest(*key: str) -> bytes:
    """Return 64 bits for texts; no other list of texts is known to share them."""
    parts = "".join(f"{len(part)}:{part}" for part in key)
    return blake2b(parts.encode(), digest_size=_PART_BYTES).digest()


def reuses_key(command_id: str, earlier: Iterable[str]) -> bool:
    """Return whether an earlier command had the same key and another body."""
    key = command_id[_PART_DIGITS:]
    return any(each[_PART_DIGITS:] == key and each != command_id for each in earlier)
