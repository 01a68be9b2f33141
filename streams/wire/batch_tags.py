"""Authentication of numbered batches by a MAC with one of the installation's receipt keys.

A batch whose sequence was seen before is skipped, so a producer with invented sequences could make
the batches of others be skipped. A numbered batch therefore ends with a tag: the id of a receipt
key and the MAC, by a key derived from it, over the topic, the partition, and every byte of the
record before the tag. A sequence cannot be reused for other contents, and a batch cannot be copied
to another partition or topic.

The tag is the last field of its Avro record, which makes it the last `TAG_BYTES` bytes of the
value, whatever the framing.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.model.errors import EventError
from streams.model.receipts import TAG_BYTES, Keyring

BLANK_TAG = bytes(TAG_BYTES)
"""Placeholder that `seal` replaces by the tag."""

Seal = Callable[[str, int, bytes], bytes]
"""Sets the tag of an encoded batch for a topic (its name in the catalogue) and a partition."""


def sealer(keyring: Keyring) -> Seal:
    """Return a function that sets the tags of encoded batches."""

    def seal(topic: str, partition: int, value: bytes) -> bytes:
        body = value[:-TAG_BYTES]
        return body + keyring.tag(_place(topic, partition), body)

    return seal


def check_tag(keyring: Keyring, topic: str, partition: int, value: bytes) -> None:
    """Verify that a holder of a key made the numbered batch in `value` for this partition.

    Raises:
        EventError: the tag is not valid (`SEQUENCE_NOT_AUTHENTIC`).
    """
    body, tag = value[:-TAG_BYTES], value[-TAG_BYTES:]
    if not keyring.has_tagged(tag, _place(topic, partition), body):
        raise EventError(
            "SEQUENCE_NOT_AUTHENTIC",
            "the batch has a sequence and no valid tag; only processes with a receipt key number "
            "their batches",
            "sequence",
        )


def _place(topic: str, partition: int) -> bytes:
    return f"{topic}/{partition}/".encode()
