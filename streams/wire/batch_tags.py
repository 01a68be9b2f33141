"""Proof that a numbered batch is of a process that has one of the installation's receipt keys.

A batch whose sequence was seen before is passed by, so a producer that made up sequences could have
the batches of others passed by. A numbered batch therefore ends with a tag: the id of a receipt key
and the MAC, by a key derived from it, over the topic, the partition, and every byte of the record
before the tag. So neither can a sequence be given to other contents, nor can a batch be copied to
another partition or topic.

The tag is the last field of its Avro record, which makes it the last `TAG_BYTES` bytes of the
value, whatever the framing.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.model.errors import EventError
from streams.model.receipts import TAG_BYTES, Keyring

BLANK_TAG = bytes(TAG_BYTES)
"""Stands where `seal` puts the tag."""

Seal = Callable[[str, int, bytes], bytes]
"""Gives the record of a topic (its name in the catalogue) and partition its tag."""


def sealer(keyring: Keyring) -> Seal:
    """Return what puts tags on encoded batches."""

    def seal(topic: str, partition: int, value: bytes) -> bytes:
        body = value[:-TAG_BYTES]
        return body + keyring.tag(_place(topic, partition), body)

    return seal


def check_tag(keyring: Keyring, topic: str, partition: int, value: bytes) -> None:
    """Return if the numbered batch in `value` was made for this place by the holder of a key.

    Raises:
        EventError: it was not (`SEQUENCE_NOT_AUTHENTIC`).
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
